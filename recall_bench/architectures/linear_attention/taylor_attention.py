"""Linear attention with the second-order Taylor expansion of exp, the recurrent half of Based."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from recall_bench.architectures.facts import Recipe, Source
from recall_bench.architectures.recipe import Architecture
from recall_bench.architectures.softmax.attention import check_heads
from recall_bench.registry import register_architecture

if TYPE_CHECKING:
    from recall_bench.architectures.base import Mixer


@register_architecture("taylor-attention")
class TaylorAttention(Architecture):
    """Second-order Taylor linear attention, the recurrent half of Based."""

    source = Source(
        "Simple linear attention language models balance the recall-throughput tradeoff",
        "2402.18668",
    )
    marker = "D"
    grids = {"quick": [{"d_model": [32], "feature_dim": [4, 8, 16]}]}
    published_recipe = Recipe("Figure 2 of Based, HazyResearch/zoology", {"block_style": "zoology"})

    feature_dim: int = Field(16, ge=1, le=256, description="width of queries and keys in each head")
    num_heads: int = Field(1, ge=1, le=4096, description="attention heads")

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        check_heads(self.d_model, self.num_heads)
        return self

    def mixer(self) -> Mixer:
        from recall_bench.architectures.linear_attention.taylor_attention_layer import (
            TaylorAttentionMixer,
        )

        return TaylorAttentionMixer(self.d_model, self.feature_dim, self.num_heads)
