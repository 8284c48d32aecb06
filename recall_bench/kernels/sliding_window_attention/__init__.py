"""Exact softmax attention to the last ``window`` keys, the current one included."""

from torch import Tensor

from recall_bench.kernels.plumbing import dispatch
from recall_bench.kernels.sliding_window_attention.reference import WindowState, window_state

__all__ = [
    "WindowState",
    "sliding_window_attention",
    "sliding_window_attention_step",
    "window_state",
]


def sliding_window_attention(
    q: Tensor, k: Tensor, v: Tensor, window: int, backend: str = "auto"
) -> Tensor:
    """softmax(q_t.k_j / sqrt(d)) over the ``window`` keys t - window < j <= t.

    Args:
        q: (batch, length, heads, d); any length, also 0.
        k, v: (batch, length, key-value heads, d); heads is a multiple of key-value heads.
        window: how many keys a query sees, itself included; at least 1.
        backend: "auto", "reference" or "triton".

    Returns:
        (batch, length, heads, d).
    """
    run = dispatch.implementation("sliding_window_attention", backend, q)
    return run(q, k, v, window)


def sliding_window_attention_step(
    q: Tensor, k: Tensor, v: Tensor, state: WindowState, backend: str = "auto"
) -> tuple[Tensor, WindowState]:
    """One token of `sliding_window_attention`; the window is the number of slots of the ring.

    q is (batch, heads, d), k and v are (batch, key-value heads, d). Returns the output
    (batch, heads, d) and the new state; ``state`` is not changed.
    """
    return dispatch.implementation("sliding_window_attention_step", backend, q)(q, k, v, state)
