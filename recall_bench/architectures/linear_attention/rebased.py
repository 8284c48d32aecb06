"""ReBased: Based's linear attention with a learned, purely quadratic kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from recall_bench.architectures.facts import Source
from recall_bench.architectures.recipe import Architecture
from recall_bench.architectures.softmax.attention import check_heads
from recall_bench.registry import register_architecture

if TYPE_CHECKING:
    from recall_bench.architectures.base import Mixer


@register_architecture("rebased")
class ReBased(Architecture):
    """Linear attention with a learned, purely quadratic kernel."""

    source = Source(
        "Linear Transformers with Learnable Kernel Functions are Better In-Context Models",
        "2402.10644",
    )
    marker = ">"
    grids = {
        "quick": [{"d_model": [32], "feature_dim": [4, 8, 16]}],
        "figure2": [{"d_model": [64, 128], "feature_dim": [16]}],
    }
    bench = {"figure2": {"d_model": 128, "feature_dim": 16}}

    feature_dim: int = Field(16, ge=1, le=256, description="width of queries and keys in each head")
    num_heads: int = Field(1, ge=1, le=4096, description="attention heads")

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        check_heads(self.d_model, self.num_heads)
        return self

    def mixer(self) -> Mixer:
        from recall_bench.architectures.linear_attention.rebased_layer import ReBasedMixer

        return ReBasedMixer(self.d_model, self.feature_dim, self.num_heads)
