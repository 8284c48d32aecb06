"""RWKV-5's recurrence: linear attention with a matrix state per head and a decay per channel."""

from torch import Tensor

from recall_bench.kernels.plumbing.operator import Layout, Shapes, Zeros, operator

__all__ = ["wkv"]


@operator()
def wkv(r: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, bonus: Tensor) -> Layout:
    """y_t = r_t (S_{t-1} + diag(u) k_t v_t^T),   S_t = diag(w) S_{t-1} + k_t v_t^T.

    Eagle's time mixing in each head (arXiv 2404.05892, section 4.1), with w = exp(log_decay) and
    u = bonus over the channels of k.

    Args:
        r, k: (batch, length, heads, d); any length, also 0.
        v: (batch, length, heads, d_v).
        log_decay: (heads, d), negative, float32 or float64.
        bonus: (heads, d).

    Returns:
        (batch, length, heads, d_v) in the dtype of log_decay. The state is S
        (batch, heads, d, d_v) in the same dtype.
    """
    sizes = Shapes("wkv")
    sizes.check("r", r, "batch length heads d")
    sizes.check("k", k, "batch length heads d")
    sizes.check("v", v, "batch length heads d_v")
    sizes.check("log_decay", log_decay, "heads d")
    sizes.check("bonus", bonus, "heads d")
    return Zeros(tuple(sizes[axis] for axis in ("batch", "heads", "d", "d_v")), log_decay.dtype)
