"""RWKV-5: linear attention with a matrix state per head and a learned decay per channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from recall_bench.architectures.facts import Recipe, Source
from recall_bench.architectures.recipe import Architecture
from recall_bench.registry import register_architecture

if TYPE_CHECKING:
    from recall_bench.architectures.base import Mixer


@register_architecture("rwkv5", stored_as="rwkv")
class RWKV5(Architecture):
    """RWKV-5's time mixing: a matrix state per head, a learned decay per channel.

    Channel mixing is the backbone's MLP.
    """

    source = Source("Eagle and Finch: RWKV with Matrix-Valued States", "2404.05892")
    marker = "X"
    grids = {
        "quick": [{"d_model": [32], "head_dim": [8, 16, 32]}],
        "figure2": [{"d_model": [64, 128, 256]}],
    }
    suites = {
        "recall": {"head_dim": 32},
        "mad": {"head_dim": 16},
        "quick": {"head_dim": 16},
    }
    bench = {"figure2": {"d_model": 128}}
    authors_recipe = Recipe(
        "BlinkDL/RWKV-LM, RWKV-v5",
        {"embedding_dropout": 0.0},
        "ratios, decay, bonus and the norm's scale start by the index of the layer; r and v "
        "orthogonal, k and g orthogonal times 0.1, out_proj zero",
    )

    generation: Literal["5"] = Field("5", description="which RWKV; 5 is Eagle")
    head_dim: int = Field(
        64, ge=1, le=1024, description="channels per head; a head's state is square"
    )

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.d_model % self.head_dim:
            raise ValueError(
                f"head_dim must divide d_model={self.d_model}. Got head_dim={self.head_dim}."
            )
        return self

    def mixer(self, layer: int = 0, layers: int = 1, recipe: str = "default") -> Mixer:
        from recall_bench.architectures.linear_attention.rwkv5_layer import RWKV5Mixer

        mixer = RWKV5Mixer(self.d_model, self.head_dim)
        if recipe == "authors":
            mixer.draw_as_authors(layer, layers)
        return mixer
