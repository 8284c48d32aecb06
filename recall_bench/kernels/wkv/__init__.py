"""RWKV-5's recurrence: linear attention with a matrix state a head and a decay a channel."""

from torch import Tensor

from recall_bench.kernels.plumbing import dispatch

__all__ = ["wkv"]


def wkv(
    r: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, bonus: Tensor, backend: str = "auto"
) -> tuple[Tensor, Tensor]:
    """y_t = r_t (S_{t-1} + diag(u) k_t v_t^T),   S_t = diag(w) S_{t-1} + k_t v_t^T.

    Eagle's time mixing in each head (arXiv 2404.05892, section 4.1), with w = exp(log_decay) and
    u = bonus over the channels of k, from S_0 = 0.

    Args:
        r, k: (batch, length, heads, d); any length, also 0.
        v: (batch, length, heads, d_v).
        log_decay: (heads, d), negative, float32 or float64.
        bonus: (heads, d).
        backend: "auto", "reference" or "triton".

    Returns:
        y (batch, length, heads, d_v) and the last state (batch, heads, d, d_v), both in the dtype
        of log_decay.
    """
    run = dispatch.implementation("wkv", backend, r)
    y, state = run(r, k, v, log_decay, bonus)
    return y, state
