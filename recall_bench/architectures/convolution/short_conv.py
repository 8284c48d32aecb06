"""Gated short convolutions: the layer under almost every recurrent mixer of the Based paper."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from recall_bench.architectures.facts import Recipe, Source
from recall_bench.architectures.recipe import Architecture
from recall_bench.registry import register_architecture

if TYPE_CHECKING:
    from recall_bench.architectures.base import Mixer


@register_architecture("short-conv")
class ShortConv(Architecture):
    """Gated short convolution: compares neighbours, carries almost nothing."""

    source = Source(
        "Simple linear attention language models balance the recall-throughput tradeoff",
        "2402.18668",
    )
    marker = "v"
    grids = {"quick": [{"d_model": [32]}]}
    window_knob = "kernel_size"
    published_recipe = Recipe("Figure 2 of Based, HazyResearch/zoology", {"block_style": "zoology"})

    kernel_size: int = Field(
        3, ge=1, le=1024, description="inputs under the kernel, including the current one"
    )
    form: Literal["synthetic", "language-model"] = Field(
        "synthetic",
        description="conv(x) * Linear(x) + x, or the wider SiLU gate of Based's language models",
    )

    def mixer(self) -> Mixer:
        from recall_bench.architectures.convolution.short_conv_layer import (
            GatedShortConvMixer,
            ShortConvMixer,
        )

        kind = ShortConvMixer if self.form == "synthetic" else GatedShortConvMixer
        return kind(self.d_model, self.kernel_size)
