"""RWKV-6: RWKV-5 with decays and token shifts that depend on the token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from recall_bench.architectures.facts import Source
from recall_bench.architectures.recipe import Architecture
from recall_bench.registry import register_architecture

if TYPE_CHECKING:
    from recall_bench.architectures.base import Mixer


@register_architecture("rwkv6")
class RWKV6(Architecture):
    """RWKV-6's time mixing: decays and token shifts that depend on the token.

    Channel mixing is the backbone's MLP.
    """

    source = Source("Eagle and Finch: RWKV with Matrix-Valued States", "2404.05892")
    marker = "<"
    grids = {
        "quick": [{"d_model": [32], "head_dim": [8, 16, 32]}],
        "figure2": [{"d_model": [64, 128, 256], "head_dim": [64]}],
    }
    suites = {"recall": {"head_dim": 32}, "mad": {"head_dim": 16}, "quick": {"head_dim": 16}}
    bench = {"figure2": {"d_model": 128, "head_dim": 64}}

    head_dim: int = Field(
        64, ge=1, le=1024, description="channels per head; a head's state is square"
    )
    mix_rank: int = Field(32, ge=1, le=1024, description="rank of each token shift's ratios")
    decay_rank: int = Field(64, ge=1, le=1024, description="rank of the map to the decays")

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.d_model % self.head_dim:
            raise ValueError(
                f"head_dim must divide d_model={self.d_model}. Got head_dim={self.head_dim}."
            )
        return self

    def mixer(self) -> Mixer:
        from recall_bench.architectures.linear_attention.rwkv6_layer import RWKV6Mixer

        return RWKV6Mixer(self.d_model, self.head_dim, self.mix_rank, self.decay_rank)
