"""Mamba: a selective state space model behind a short convolution, with a gate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from recall_bench.architectures.facts import Recipe, Source
from recall_bench.architectures.recipe import Architecture
from recall_bench.registry import register_architecture

if TYPE_CHECKING:
    from recall_bench.architectures.base import Mixer


@register_architecture("mamba")
class Mamba(Architecture):
    """Selective state space model behind a short convolution.

    Figure 2 of Based (arXiv 2402.18668): d_model 64, 128, 256 and d_state 8, 16, 24.
    """

    source = Source(
        "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", "2312.00752"
    )
    marker = "^"
    grids = {
        "quick": [{"d_model": [32], "d_state": [4, 16]}],
        "figure2": [{"d_model": [64, 128, 256], "d_state": [8, 16, 24]}],
    }
    suites = {"recall": {"d_state": 16}, "mad": {"d_state": 4}}
    bench = {"figure2": {"d_model": 128, "d_state": 16}}
    counterparts = {"mad": "Mamba"}
    published_recipe = Recipe(
        "Figure 2 of Based, HazyResearch/zoology",
        {"norm": "rmsnorm", "embedding_dropout": 0.0},
        "linear maps from normal 0.02 (out_proj: divided by sqrt(2 layers)), biases of the step "
        "sizes zero, weight decay on A and D",
    )
    authors_recipe = Recipe(
        "state-spaces/mamba",
        {"norm": "rmsnorm", "embedding_dropout": 0.0},
        "out_proj divided by the square root of the number of layers",
    )

    d_state: int = Field(16, ge=1, le=4096, description="state size of each channel")
    d_conv: int = Field(4, ge=1, le=64, description="kernel size of the short convolution")
    expand: int = Field(2, ge=1, le=64, description="inner width over model width")
    layers: str = Field("self+self", description="mixers from the bottom up, joined by '+'")

    def mixer(self, layers: int = 1, recipe: str = "default") -> Mixer:
        from recall_bench.architectures.state_space.mamba_layer import MambaMixer

        return MambaMixer(self.d_model, self.d_state, self.d_conv, self.expand, recipe, layers)
