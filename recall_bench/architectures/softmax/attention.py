"""Causal softmax attention: the architecture that recalls everything and carries everything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from recall_bench.architectures.facts import Recipe, Source
from recall_bench.architectures.recipe import Architecture
from recall_bench.registry import register_architecture

if TYPE_CHECKING:
    from recall_bench.architectures.base import Mixer


def check_heads(d_model: int, num_heads: int, rotary: bool = False) -> None:
    """Raise `ValueError` if the heads do not divide the width, or rotary gets an odd head size."""
    if d_model % num_heads:
        raise ValueError(
            f"d_model must be a multiple of num_heads. Got d_model={d_model}, num_heads={num_heads}"
        )
    if rotary and d_model // num_heads % 2:
        raise ValueError(
            f"rotary needs an even head dimension, d_model / num_heads. "
            f"Got {d_model} / {num_heads} = {d_model // num_heads}"
        )


@register_architecture("attention")
class Attention(Architecture):
    """Causal softmax attention over a growing key-value cache."""

    source = Source("Attention Is All You Need", "1706.03762")
    marker = "*"
    grids = {"quick": [{"d_model": [16, 32]}], "figure2": [{"d_model": [64, 128]}]}
    suites = {
        "mad": {"num_heads": 16, "rotary": True},
        "quick": {"rotary": [False, True]},
    }
    bench = {"figure2": {"d_model": 128}}
    counterparts = {"mad": "Transformer"}
    published_recipe = Recipe(
        "Figure 2 of Based, HazyResearch/zoology",
        {"block_style": "zoology"},
        "dropout 0.1 on the attention weights, out_proj from normal 0.02 / sqrt(2 layers)",
    )

    num_heads: int = Field(1, ge=1, le=4096, description="attention heads")
    rotary: bool = Field(False, description="rotary position embedding on queries and keys")

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        check_heads(self.d_model, self.num_heads, self.rotary)
        return self

    def mixer(self, layer: int = 0, layers: int = 1, recipe: str = "default") -> Mixer:
        from recall_bench.architectures.softmax.attention_layer import AttentionMixer

        mixer = AttentionMixer(self.d_model, self.num_heads, self.rotary)
        if recipe == "published":
            mixer.draw_as_zoology(layer, layers, dropout=0.1)
        return mixer
