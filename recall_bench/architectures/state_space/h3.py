"""H3: a shift and a diagonal state space model, joined by products of q, k and v."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from recall_bench.architectures.facts import Recipe, Source
from recall_bench.architectures.recipe import Architecture
from recall_bench.registry import register_architecture

if TYPE_CHECKING:
    from recall_bench.architectures.base import Mixer


@register_architecture("h3")
class H3(Architecture):
    """Shift and diagonal state space models, joined by products.

    Figure 2 of Based (arXiv 2402.18668): d_model 64, 128, 256, d_state = d_model / 4; the released
    configuration sets head_dim 2, which doubles the state.
    """

    source = Source(
        "Hungry Hungry Hippos: Towards Language Modeling with State Space Models", "2212.14052"
    )
    marker = "P"
    grids = {
        "quick": [{"d_model": [32], "d_state": [8, 32]}],
        "figure2": [
            {"d_model": [width], "d_state": [width // 4], "head_dim": [2]}
            for width in (64, 128, 256)
        ],
    }
    suites = {"recall": {"d_state": 16}, "mad": {"d_state": 4}, "quick": {"d_state": 16}}
    bench = {"figure2": {"d_model": 128, "d_state": 32, "head_dim": 2}}
    published_recipe = Recipe(
        "Figure 2 of Based, HazyResearch/zoology",
        {"block_style": "zoology"},
        "B of the shift is learned, weight decay on all parameters",
    )

    d_state: int = Field(
        16, ge=2, le=4096, description="taps of the shift SSM and state size of the diagonal SSM"
    )
    head_dim: int = Field(1, ge=1, description="channels whose keys and values are multiplied")
    layers: str = Field("self+self", description="mixers from the bottom up, joined by '+'")

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.d_state % 2:
            raise ValueError(
                f"d_state must be even: a complex mode and its conjugate count as two. "
                f"Got {self.d_state}."
            )
        if self.d_model % self.head_dim:
            raise ValueError(
                f"head_dim must divide d_model={self.d_model}. Got head_dim={self.head_dim}."
            )
        return self

    def mixer(self, recipe: str = "default") -> Mixer:
        from recall_bench.architectures.state_space.h3_layer import H3Mixer

        return H3Mixer(self.d_model, self.d_state, self.head_dim, recipe)
