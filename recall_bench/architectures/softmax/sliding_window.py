"""Softmax attention to the last tokens only, with a ring buffer of exactly that many slots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from recall_bench.architectures.softmax.attention import Attention
from recall_bench.registry import register_architecture

if TYPE_CHECKING:
    from recall_bench.architectures.base import Mixer


@register_architecture("sliding-window")
class SlidingWindow(Attention):
    """Sliding-window attention over a ring of the last ``window`` keys and values."""

    window: int = Field(
        64, ge=1, le=2**20, description="how many tokens a query sees, itself included"
    )

    def mixer(self) -> Mixer:
        from recall_bench.architectures.softmax.sliding_window_layer import SlidingWindowMixer

        return SlidingWindowMixer(self.d_model, self.window, self.num_heads, self.rotary)
