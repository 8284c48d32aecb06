"""Mamba-2: a state space model with a scalar decay per head, behind a short convolution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from recall_bench.architectures.facts import Source
from recall_bench.architectures.recipe import Architecture
from recall_bench.registry import register_architecture

if TYPE_CHECKING:
    from recall_bench.architectures.base import Mixer


@register_architecture("mamba2")
class Mamba2(Architecture):
    """State space duality: a scalar decay per head, behind a short convolution.

    Zoology's sweep: d_model 64, 128, 256 and d_state 8, 16, 24. The paper's d_state is 128.
    """

    source = Source(
        "Transformers are SSMs: Generalized Models and Efficient Algorithms Through Structured "
        "State Space Duality",
        "2405.21060",
    )
    marker = "v"
    grids = {
        "quick": [{"d_model": [32], "head_dim": [16], "d_state": [4, 16, 64]}],
        "figure2": [{"d_model": [64, 128, 256], "d_state": [8, 16, 24]}],
    }
    suites = {
        "recall": {"d_state": 16},
        "mad": {"d_state": 16},
        "quick": {"head_dim": 16, "d_state": 16},
    }
    bench = {"figure2": {"d_model": 128, "d_state": 16}}

    d_state: int = Field(64, ge=1, le=4096, description="width of B and C, shared by all heads")
    head_dim: int = Field(64, ge=1, le=4096, description="channels per head")
    d_conv: int = Field(4, ge=1, le=64, description="kernel size of the short convolution")
    expand: int = Field(2, ge=1, le=64, description="inner width over model width")
    layers: str = Field("self+self", description="mixers from the bottom up, joined by '+'")

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.expand * self.d_model % self.head_dim:
            raise ValueError(
                f"head_dim must divide expand * d_model = {self.expand * self.d_model}. "
                f"Got head_dim={self.head_dim}."
            )
        return self

    def mixer(self) -> Mixer:
        from recall_bench.architectures.state_space.mamba2_layer import Mamba2Mixer

        return Mamba2Mixer(self.d_model, self.d_state, self.head_dim, self.d_conv, self.expand)
