"""HGRN2: gated linear attention whose keys are what its decays forget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from recall_bench.architectures.facts import Source
from recall_bench.architectures.recipe import Architecture
from recall_bench.registry import register_architecture

if TYPE_CHECKING:
    from recall_bench.architectures.base import Mixer


@register_architecture("hgrn2")
class HGRN2(Architecture):
    """Gated linear attention whose keys are what its decays forget: k = 1 - w.

    The paper's heads are 128 wide; ours are 64 by default, so that they fit the default width.
    """

    source = Source("HGRN2: Gated Linear RNNs with State Expansion", "2404.07904")
    marker = "^"
    grids = {
        "quick": [{"d_model": [32], "head_dim": [8, 16, 32]}],
        "figure2": [{"d_model": [64, 128, 256], "head_dim": [32, 64]}],
    }
    suites = {"recall": {"head_dim": 32}, "mad": {"head_dim": 16}, "quick": {"head_dim": 16}}
    bench = {"figure2": {"d_model": 128, "head_dim": 64}}

    head_dim: int = Field(
        64, ge=1, le=1024, description="channels per head, the paper's expansion ratio"
    )
    lower_bound: float = Field(0.0, ge=0, lt=1, description="smallest decay of every channel")

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.d_model % self.head_dim:
            raise ValueError(
                f"head_dim must divide d_model={self.d_model}. Got head_dim={self.head_dim}."
            )
        return self

    def mixer(self) -> Mixer:
        from recall_bench.architectures.linear_attention.hgrn2_layer import HGRN2Mixer

        return HGRN2Mixer(self.d_model, self.head_dim, self.lower_bound)
