"""RetNet's retention: linear attention with rotary positions and a fixed decay per head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from recall_bench.architectures.facts import Source
from recall_bench.architectures.recipe import Architecture
from recall_bench.architectures.softmax.attention import check_heads
from recall_bench.registry import register_architecture

if TYPE_CHECKING:
    from recall_bench.architectures.base import Mixer


@register_architecture("retnet")
class RetNet(Architecture):
    """Multi-scale retention: rotary positions and a fixed decay per head."""

    source = Source("Retentive Network: A Successor to Transformer", "2307.08621")
    marker = "s"
    grids = {
        "quick": [{"d_model": [32], "num_heads": [2, 4, 8]}],
        "figure2": [{"d_model": [64, 128, 256], "num_heads": [2]}],
    }
    suites = {"recall": {"num_heads": 2}, "mad": {"num_heads": 4}, "quick": {"num_heads": 4}}
    bench = {"figure2": {"d_model": 128, "num_heads": 2}}

    num_heads: int = Field(
        8, ge=1, le=64, description="heads, each with a decay of its own; more have a smaller state"
    )
    expand_v: int = Field(2, ge=1, le=16, description="width of all values over model width")

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        check_heads(self.d_model, self.num_heads, rotary=True)
        return self

    def mixer(self) -> Mixer:
        from recall_bench.architectures.linear_attention.retnet_layer import RetNetMixer

        return RetNetMixer(self.d_model, self.num_heads, self.expand_v)
