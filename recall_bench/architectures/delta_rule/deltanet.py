"""DeltaNet: a matrix state that corrects what it recalls for a key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from recall_bench.architectures.facts import Source
from recall_bench.architectures.recipe import Architecture
from recall_bench.architectures.softmax.attention import check_heads
from recall_bench.registry import register_architecture

if TYPE_CHECKING:
    from recall_bench.architectures.base import Mixer


@register_architecture("deltanet")
class DeltaNet(Architecture):
    """Linear attention with the delta rule: a write corrects what the state recalls for its key.

    Zoology sweeps it with two heads.
    """

    source = Source(
        "Parallelizing Linear Transformers with the Delta Rule over Sequence Length", "2406.06484"
    )
    marker = "o"
    grids = {
        "quick": [{"d_model": [32], "num_heads": [1, 2, 4]}],
        "figure2": [{"d_model": [64, 128, 256]}],
    }
    suites = {"recall": {}, "mad": {}, "quick": {}}
    bench = {"figure2": {"d_model": 128}}

    num_heads: int = Field(2, ge=1, le=4096, description="heads; each has a square state")
    kernel_size: int = Field(4, ge=1, le=64, description="kernel size of the short convolutions")
    negative_eigenvalues: bool = Field(
        False, description="whether beta reaches 2, so that a write may flip what it removes"
    )

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        check_heads(self.d_model, self.num_heads)
        return self

    def mixer(self) -> Mixer:
        from recall_bench.architectures.delta_rule.deltanet_layer import DeltaNetMixer

        return DeltaNetMixer(
            self.d_model,
            self.num_heads,
            self.kernel_size,
            2.0 if self.negative_eigenvalues else 1.0,
        )
