"""Mixture of memories: a router sends each token to a few of several gated DeltaNet states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from recall_bench.architectures.delta_rule.gated_deltanet import check_keys
from recall_bench.architectures.facts import Source
from recall_bench.architectures.recipe import Architecture
from recall_bench.registry import register_architecture

if TYPE_CHECKING:
    from recall_bench.architectures.base import Mixer


@register_architecture("mom")
class MoM(Architecture):
    """Mixture of memories: a router sends each token to a few of several gated DeltaNet states.

    All memories are carried, whether or not a token reads them, and count as bytes.
    """

    source = Source("MoM: Linear Sequence Modeling with Mixture-of-Memories", "2502.13685")
    marker = "v"
    grids = {
        "quick": [{"d_model": [32], "num_memories": [2, 4]}],
        "figure2": [{"d_model": [64, 128, 256]}],
    }
    suites = {"recall": {}, "mad": {}, "quick": {}}
    bench = {"figure2": {"d_model": 128}}

    num_memories: int = Field(4, ge=1, le=1024, description="memories that the router chooses from")
    top_k: int = Field(2, ge=1, le=1024, description="memories that each token writes and reads")
    shared_memory: bool = Field(True, description="whether one more memory takes every token")
    num_heads: int = Field(2, ge=1, le=4096, description="heads of each memory")
    expand_k: float = Field(0.5, gt=0, le=64, description="width of a memory's keys over d_model")
    expand_v: int = Field(1, ge=1, le=64, description="width of a value over that of a key")
    kernel_size: int = Field(4, ge=1, le=64, description="kernel size of the short convolutions")

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        check_keys(self.d_model, self.num_heads, self.expand_k)
        if self.top_k > self.num_memories:
            raise ValueError(
                f"top_k must be at most num_memories={self.num_memories}. Got top_k={self.top_k}."
            )
        return self

    def mixer(self) -> Mixer:
        from recall_bench.architectures.delta_rule.mom_layer import MoMMixer

        d_k = round(self.expand_k * self.d_model / self.num_heads)
        return MoMMixer(
            self.d_model,
            self.num_heads,
            d_k,
            self.expand_v * d_k,
            self.kernel_size,
            num_memories=self.num_memories,
            top_k=self.top_k,
            shared_memory=self.shared_memory,
        )
