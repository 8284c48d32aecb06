"""RWKV-7: a matrix state from which each token removes along one vector before it writes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from recall_bench.architectures.facts import Source
from recall_bench.architectures.recipe import Architecture
from recall_bench.registry import register_architecture

if TYPE_CHECKING:
    from recall_bench.architectures.base import Mixer


@register_architecture("rwkv7")
class RWKV7(Architecture):
    """RWKV-7's time mixing: a delta rule whose removal, rate and decay differ by channel.

    Channel mixing is the backbone's MLP. Zoology sweeps it with ranks 16, 16 and 64.
    """

    source = Source("RWKV-7 Goose with Expressive Dynamic State Evolution", "2503.14456")
    marker = "X"
    grids = {
        "quick": [{"d_model": [32], "head_dim": [8, 16, 32]}],
        "figure2": [
            {"d_model": [64, 128, 256], "decay_rank": [16], "rate_rank": [16], "gate_rank": [64]}
        ],
    }
    suites = {"recall": {"head_dim": 32}, "mad": {"head_dim": 16}, "quick": {"head_dim": 16}}
    bench = {"figure2": {"d_model": 128, "decay_rank": 16, "rate_rank": 16, "gate_rank": 64}}

    head_dim: int = Field(
        64, ge=1, le=1024, description="channels per head; a head's state is square"
    )
    decay_rank: int = Field(0, ge=0, le=65536, description="rank of the decay's map; 0: published")
    rate_rank: int = Field(0, ge=0, le=65536, description="rank of the rate's map; 0: published")
    gate_rank: int = Field(0, ge=0, le=65536, description="rank of the gate's map; 0: published")

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.d_model % self.head_dim:
            raise ValueError(
                f"head_dim must divide d_model={self.d_model}. Got head_dim={self.head_dim}."
            )
        return self

    def mixer(self) -> Mixer:
        from recall_bench.architectures.delta_rule.rwkv7_layer import RWKV7Mixer

        return RWKV7Mixer(
            self.d_model,
            self.head_dim,
            self.decay_rank or published_rank(2.5, self.d_model),
            self.rate_rank or published_rank(2.5, self.d_model),
            self.gate_rank or published_rank(5, self.d_model),
        )


def published_rank(factor: float, d_model: int) -> int:
    """The released code's rank: factor sqrt(d_model), rounded to a multiple of 32, at least 32."""
    return max(32, round(factor * math.sqrt(d_model) / 32) * 32)
