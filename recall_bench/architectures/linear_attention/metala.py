"""MetaLA: gated linear attention without keys of its own, and a term for the token itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from recall_bench.architectures.facts import Source
from recall_bench.architectures.recipe import Architecture
from recall_bench.registry import register_architecture

if TYPE_CHECKING:
    from recall_bench.architectures.base import Mixer


@register_architecture("metala")
class MetaLA(Architecture):
    """Gated linear attention with keys 1 - w, and a term for the token itself."""

    source = Source(
        "MetaLA: Unified Optimal Linear Approximation to Softmax Attention Map", "2411.10741"
    )
    marker = "p"
    grids = {
        "quick": [{"d_model": [32], "num_heads": [1, 2, 4]}],
        "figure2": [{"d_model": [64, 128, 256], "num_heads": [2]}],
    }
    suites = {"recall": {"num_heads": 2}, "mad": {"num_heads": 4}, "quick": {"num_heads": 2}}
    bench = {"figure2": {"d_model": 128, "num_heads": 2}}

    num_heads: int = Field(4, ge=1, le=4096, description="heads; more have a smaller state")
    d_conv: int = Field(4, ge=1, le=64, description="kernel size of the short convolution")

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.d_model % (2 * self.num_heads):
            raise ValueError(
                f"d_model must be a multiple of 2 num_heads = {2 * self.num_heads}. "
                f"Got d_model={self.d_model}"
            )
        return self

    def mixer(self) -> Mixer:
        from recall_bench.architectures.linear_attention.metala_layer import MetaLAMixer

        return MetaLAMixer(self.d_model, self.num_heads, self.d_conv)
