"""Softmax attention to the last tokens only, with a ring buffer of exactly that many slots."""

from typing import Any

from torch import Tensor

from recall_bench.architectures.softmax.attention_layer import AttentionMixer
from recall_bench.kernels.rotary import rotary
from recall_bench.kernels.sliding_window_attention import sliding_window_attention


class SlidingWindowMixer(AttentionMixer):
    """softmax(q.k / sqrt(d)) over the last ``window`` tokens, the current one included.

    Rotary turns keys by their positions before they enter the ring, so that their order in the ring
    does not matter.
    """

    grows = False
    window: int

    def __init__(self, d_model: int, window: int, num_heads: int = 1, rotary: bool = False):
        super().__init__(d_model, num_heads, rotary)
        self.window = window

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, initial_state: Any = None, return_state: bool = False
    ) -> Any:
        if self.rotary:
            positions = self._positions(q)
            if initial_state is not None:
                positions = initial_state.position[:, None] + positions  # (batch, length)
            q, k = rotary(q, positions), rotary(k, positions)
        return sliding_window_attention(
            q, k, v, self.window, initial_state=initial_state, return_state=return_state
        )
