"""The gated outer-product recurrence that linear attention, GLA, Mamba-2 and others share."""

import torch
from torch import Tensor

from recall_bench.kernels.plumbing.operator import Layout, Shapes, Zeros, operator

__all__ = ["gated_linear"]


@operator()
def gated_linear(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None = None,
    bonus: Tensor | None = None,
) -> Layout:
    """y_t = S_t^T q_t,   S_t = diag(w_t) S_{t-1} + k_t v_t^T,   w = exp(log_decay), in each head.

    Without a decay this is linear attention (arXiv 2006.16236, section 3.4), with one per channel
    gated linear attention (arXiv 2312.06635, section 4.1), with one per token and head the state
    space model of Mamba-2 (arXiv 2405.21060). A ``bonus`` u reads before the update, as RWKV does
    (arXiv 2404.05892, section 4.1): y_t = (S_{t-1} + diag(u) k_t v_t^T)^T q_t. A column of ones in
    v returns the normaliser, the sum of the scores, as the last column of y.

    There is no Triton kernel: a GPU runs the plain PyTorch form too.

    Args:
        q, k: (batch, length, groups, d); any length, also 0. The number of heads is a multiple of
            groups, and consecutive heads share the q and k of a group.
        v: (batch, length, heads, d_v).
        log_decay: at most 0, also -inf: (heads,) constant, (batch, length, heads) per token, or
            (batch, length, heads, d) per channel. None keeps everything.
        bonus: (heads, d), or None to read after the update.

    Returns:
        (batch, length, heads, d_v), float32, or float64 for float64 inputs. The state is S
        (batch, heads, d, d_v) in the same dtype.
    """
    sizes = Shapes("gated_linear")
    sizes.check("q", q, "batch length groups d")
    sizes.check("k", k, "batch length groups d")
    sizes.check("v", v, "batch length heads d_v")
    if log_decay is not None:
        axes = {1: "heads", 3: "batch length heads"}
        sizes.check("log_decay", log_decay, axes.get(log_decay.dim(), "batch length heads d"))
    if bonus is not None:
        sizes.check("bonus", bonus, "heads d")
    sizes.check_groups("heads", "groups")
    shape = tuple(sizes[axis] for axis in ("batch", "heads", "d", "d_v"))
    return Zeros(shape, torch.promote_types(q.dtype, torch.float32))
