"""Kimi delta attention: the delta rule on a state whose channels decay separately."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from recall_bench.architectures.facts import Source
from recall_bench.architectures.recipe import Architecture
from recall_bench.architectures.softmax.attention import check_heads
from recall_bench.registry import register_architecture

if TYPE_CHECKING:
    from recall_bench.architectures.base import Mixer


@register_architecture("kda")
class KDA(Architecture):
    """Kimi delta attention: gated DeltaNet with a decay of its own for each channel of the keys."""

    source = Source("Kimi Linear: An Expressive, Efficient Attention Architecture", "2510.26692")
    marker = "D"
    grids = {
        "quick": [{"d_model": [32], "num_heads": [1, 2, 4]}],
        "figure2": [{"d_model": [64, 128, 256]}],
    }
    suites = {"recall": {}, "mad": {}, "quick": {}}
    bench = {"figure2": {"d_model": 128}}

    num_heads: int = Field(2, ge=1, le=4096, description="heads; keys are d_model / num_heads wide")
    expand_v: int = Field(1, ge=1, le=64, description="width of a value over that of a key")
    kernel_size: int = Field(4, ge=1, le=64, description="kernel size of the short convolutions")
    bounded: bool = Field(
        False, description="whether log decays lie between -5 and 0 instead of being unbounded"
    )

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        check_heads(self.d_model, self.num_heads)
        return self

    def mixer(self) -> Mixer:
        from recall_bench.architectures.delta_rule.kda_layer import KDAMixer

        return KDAMixer(
            self.d_model, self.num_heads, self.expand_v, self.kernel_size, bounded=self.bounded
        )
