"""Softmax attention to the last tokens only, with a ring buffer of exactly that many slots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from recall_bench.architectures.facts import Recipe, Source
from recall_bench.architectures.softmax.attention import Attention
from recall_bench.registry import register_architecture

if TYPE_CHECKING:
    from recall_bench.architectures.base import Mixer


@register_architecture("sliding-window")
class SlidingWindow(Attention):
    """Sliding-window attention over a ring of the last ``window`` keys and values."""

    source = Source("Longformer: The Long-Document Transformer", "2004.05150")
    marker = "s"
    grids = {
        "quick": [{"d_model": [32], "window": [8, 16, 32, 64]}],
        "figure2": [{"d_model": [128], "window": [8, 16, 32, 64, 128, 256, 512, 1024]}],
    }
    suites = {"recall": {"window": 64}, "quick": {"window": 16}}
    bench = {"figure2": {"d_model": 128, "window": 64}}
    window_knob = "window"
    published_recipe = Recipe(
        "Figure 2 of Based, HazyResearch/zoology",
        {"block_style": "zoology"},
        "out_proj from normal 0.02 / sqrt(2 layers); a window of W there sees W + 1 keys, so "
        "compare it with our W + 1",
    )

    window: int = Field(
        64, ge=1, le=2**20, description="tokens that a query sees, its own included"
    )

    def mixer(self, layer: int = 0, layers: int = 1, recipe: str = "default") -> Mixer:
        from recall_bench.architectures.softmax.sliding_window_layer import SlidingWindowMixer

        mixer = SlidingWindowMixer(self.d_model, self.window, self.num_heads, self.rotary)
        if recipe == "published":
            mixer.draw_as_zoology(layer, layers)
        return mixer
