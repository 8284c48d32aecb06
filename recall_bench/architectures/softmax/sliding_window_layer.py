"""Softmax attention to the last tokens only, with a ring buffer of exactly that many slots."""

from torch import Tensor

from recall_bench.architectures.base import State
from recall_bench.architectures.softmax.attention_layer import AttentionMixer
from recall_bench.kernels.sliding_window_attention import (
    WindowState,
    sliding_window_attention,
    sliding_window_attention_step,
    window_state,
)


class SlidingWindowMixer(AttentionMixer):
    """softmax(q.k / sqrt(d)) over the last ``window`` tokens, the current one included.

    Keys are turned by their rotary position before they enter the ring, so that their order in it
    does not matter.
    """

    grows = False
    window: int

    def __init__(self, d_model: int, window: int, num_heads: int = 1, rotary: bool = False):
        super().__init__(d_model, num_heads, rotary)
        self.window = window

    def prefill(self, x: Tensor) -> tuple[Tensor, State]:
        q, k, v = self._project(x, self._positions(x))
        return self._attend(q, k, v), window_state(k, v, self.window)._asdict()

    def initial_state(self, batch_size: int) -> State:
        empty = self.zeros(batch_size, 0, self.num_heads, self.head_dim)
        return window_state(empty, empty, self.window)._asdict()

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        q, k, v = self._project(x, state["position"])
        y, new = sliding_window_attention_step(q, k, v, WindowState(**state))
        return self.out(y.flatten(-2)), new._asdict()

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self.out(sliding_window_attention(q, k, v, self.window).flatten(-2))
