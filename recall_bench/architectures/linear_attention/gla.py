"""Gated linear attention: a decay per channel that depends on the token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from recall_bench.architectures.facts import Source
from recall_bench.architectures.recipe import Architecture
from recall_bench.registry import register_architecture

if TYPE_CHECKING:
    from recall_bench.architectures.base import Mixer


@register_architecture("gla")
class GLA(Architecture):
    """Gated linear attention: a decay per channel that depends on the token.

    Zoology's sweep has two heads at d_model 64, 128 and 256.
    """

    source = Source(
        "Gated Linear Attention Transformers with Hardware-Efficient Training", "2312.06635"
    )
    marker = "P"
    grids = {
        "quick": [{"d_model": [32], "num_heads": [1, 2, 4]}],
        "figure2": [{"d_model": [64, 128, 256], "num_heads": [2]}],
    }
    suites = {"recall": {"num_heads": 2}, "mad": {"num_heads": 4}, "quick": {"num_heads": 2}}
    bench = {"figure2": {"d_model": 128, "num_heads": 2}}

    num_heads: int = Field(4, ge=1, le=4096, description="heads; more have a smaller state")
    expand_k: float = Field(0.5, gt=0, le=16, description="width of all keys over model width")
    expand_v: float = Field(1.0, gt=0, le=16, description="width of all values over model width")
    gate_rank: int = Field(16, ge=1, le=4096, description="rank of the map to the decays")

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        for knob in ("expand_k", "expand_v"):
            width = getattr(self, knob) * self.d_model
            if width % self.num_heads or width < 1:
                raise ValueError(
                    f"{knob} * d_model must be a multiple of num_heads={self.num_heads}. "
                    f"Got {getattr(self, knob)} * {self.d_model} = {width}"
                )
        return self

    def mixer(self) -> Mixer:
        from recall_bench.architectures.linear_attention.gla_layer import GLAMixer

        return GLAMixer(self.d_model, self.num_heads, self.expand_k, self.expand_v, self.gate_rank)
