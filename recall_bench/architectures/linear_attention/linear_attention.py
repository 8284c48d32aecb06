"""Linear attention: a feature map of queries and keys in the place of softmax."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from recall_bench.architectures.facts import Source
from recall_bench.architectures.recipe import Architecture
from recall_bench.architectures.softmax.attention import check_heads
from recall_bench.registry import register_architecture

if TYPE_CHECKING:
    from recall_bench.architectures.base import Mixer

MAX_FEATURES = 1 << 16
"""Largest number of features of a polynomial map."""


@register_architecture("linear-attention")
class LinearAttention(Architecture):
    """Linear attention: a feature map of queries and keys in the place of softmax.

    `recall_bench.architectures.pieces.feature_maps` describes the maps.
    """

    source = Source(
        "Transformers are RNNs: Fast Autoregressive Transformers with Linear Attention",
        "2006.16236",
    )
    marker = "v"
    grids = {
        "quick": [
            {"d_model": [32], "feature_map": ["elu", "hedgehog"], "feature_dim": [8, 32]},
            {"d_model": [32], "feature_map": ["polynomial"], "feature_dim": [8, 16]},
        ],
        "figure2": [{"d_model": [64, 128, 256], "feature_map": ["elu"], "feature_dim": [64]}],
    }
    suites = {"quick": {"feature_dim": 32}}
    bench = {"figure2": {"d_model": 128, "feature_dim": 64}}

    feature_map: Literal["elu", "identity", "polynomial", "cosformer", "performer", "hedgehog"] = (
        Field("elu", description="map of queries and keys whose products are the scores")
    )
    feature_dim: int = Field(
        16, ge=1, le=1024, description="width of queries and keys in each head"
    )
    num_heads: int = Field(1, ge=1, le=4096, description="attention heads")
    degree: int = Field(2, ge=1, le=4, description="of the polynomial map")
    horizon: int = Field(
        1024, ge=1, le=1 << 24, description="cosformer: distance at which scores reach zero"
    )
    normaliser: Literal["sum", "rms"] = Field(
        "sum", description="divide by the sum of scores, or normalise each head's output"
    )

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        check_heads(self.d_model, self.num_heads)
        odd = self.feature_map == "identity" or (
            self.feature_map == "polynomial" and self.degree % 2
        )
        if odd and self.normaliser == "sum":
            raise ValueError(
                f"normaliser must be rms, since the scores of feature_map={self.feature_map} with "
                f"degree={self.degree} may be negative. Got normaliser=sum"
            )
        features = math.comb(self.feature_dim + self.degree, self.degree)
        if self.feature_map == "polynomial" and features > MAX_FEATURES:
            raise ValueError(
                f"feature_dim={self.feature_dim} and degree={self.degree} make {features} "
                f"features. At most {MAX_FEATURES} are supported."
            )
        return self

    def mixer(self) -> Mixer:
        from recall_bench.architectures.linear_attention.linear_attention_layer import (
            LinearAttentionMixer,
        )

        return LinearAttentionMixer(
            self.d_model,
            self.num_heads,
            self.feature_dim,
            self.feature_map,
            self.degree,
            self.horizon,
            self.normaliser,
        )
