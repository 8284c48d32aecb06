"""A decaying matrix state from which each token first removes something: the delta rules."""

from typing import Literal

import torch
from torch import Tensor

from recall_bench.kernels.plumbing.operator import Layout, Shapes, Zeros, operator

__all__ = ["delta"]


@operator()
def delta(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor | None = None,
    log_decay: Tensor | None = None,
    a: Tensor | None = None,
    b: Tensor | None = None,
    remove: Literal["after", "before"] = "after",
) -> Layout:
    """S' = diag(w_t) S_{t-1},   S_t = S' + beta_t k_t (v_t - S'^T k_t)^T,   y_t = S_t^T q_t.

    This is the gated delta rule (arXiv 2412.06464, equation 10) with w = exp(log_decay), which may
    differ between channels (Kimi delta attention, 2510.26692); without a decay it is DeltaNet
    (2406.06484). With a and b in the place of beta a token removes along one vector and writes
    along another, as in RWKV-7 (2503.14456):

        S_t = S' + b_t (a_t^T S') + k_t v_t^T,   or b_t (a_t^T S_{t-1}) if remove is "before".

    Several writes a token (DeltaProduct, 2502.10297) follow one another; the token's decay comes
    before the first of them, and q reads after the last.

    There is no GPU kernel of ours: a GPU runs the reference, which never waits for the device and
    so can be replayed from a CUDA graph.

    Args:
        q: (batch, length, heads, d_k); any length, also 0.
        k: (batch, length, heads, d_k), or (batch, length, writes, heads, d_k) for several writes.
        v: (batch, length, [writes,] heads, d_v).
        beta: (batch, length, [writes,] heads); None with a and b.
        log_decay: (batch, length, heads), or with d_k for each channel; not positive, where -inf
            forgets everything; None for no decay.
        a, b: like k; None with beta.
        remove: whether the (first) removal reads the state "after" or "before" the decay.

    Returns:
        (batch, length, heads, d_v) in the state's dtype. The state is S
        (batch, heads, d_k, d_v) in the dtype of v, at least float32.
    """
    sizes = Shapes("delta")
    writes = "writes " if k.dim() == 5 else ""
    sizes.check("q", q, "batch length heads d_k")
    sizes.check("k", k, f"batch length {writes}heads d_k")
    sizes.check("v", v, f"batch length {writes}heads d_v")
    if beta is not None:
        sizes.check("beta", beta, f"batch length {writes}heads")
    for name, x in (("a", a), ("b", b)):
        if x is not None:
            sizes.check(name, x, f"batch length {writes}heads d_k")
    if log_decay is not None:
        channels = " d_k" if log_decay.dim() == 4 else ""
        sizes.check("log_decay", log_decay, f"batch length heads{channels}")
    if (beta is None) == (a is None) or (a is None) != (b is None):
        given = [n for n, x in (("beta", beta), ("a", a), ("b", b)) if x is not None]
        raise ValueError(
            f"delta: give either beta, or both a and b. Got {', '.join(given) or 'none'}."
        )
    if remove not in ("after", "before"):
        raise ValueError(f"delta: remove must be 'after' or 'before'. Got {remove!r}.")
    dtype = torch.promote_types(v.dtype, torch.float32)
    return Zeros(tuple(sizes[axis] for axis in ("batch", "heads", "d_k", "d_v")), dtype)
