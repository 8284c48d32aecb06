"""Based's linear attention: the second-order Taylor expansion of exp as its feature map."""

import torch
from torch import Tensor

from recall_bench.kernels.plumbing.operator import Layout, Shapes, Zeros, operator
from recall_bench.kernels.taylor_attention import reference
from recall_bench.kernels.taylor_attention.features import TaylorState, feature_map, packed_size

__all__ = ["TaylorState", "feature_map", "packed_size", "taylor_attention", "taylor_attention_at"]


@operator()
def taylor_attention(q: Tensor, k: Tensor, v: Tensor) -> Layout:
    """Causal linear attention with phi(q).phi(k) = 1 + s + s^2/2, s = q.k / sqrt(d).

    y_t = phi(q_t) S_t / (phi(q_t).z_t + 1e-12), S_t = sum_j phi(k_j) v_j^T, z_t = sum_j phi(k_j),
    over all j <= t (Based, arXiv 2402.18668, section 4). The scale is applied here.

    Args:
        q, k: (batch, length, heads, d); any length, also 0.
        v: (batch, length, heads, d_v).

    Returns:
        (batch, length, heads, d_v) in the dtype of v. The state is a `TaylorState`: S
        (batch, heads, P, d_v) and z (batch, heads, P), P the packed size of d; float32, or float64
        for float64 inputs.
    """
    sizes = Shapes("taylor_attention")
    sizes.check("q", q, "batch length heads d")
    sizes.check("k", k, "batch length heads d")
    sizes.check("v", v, "batch length heads d_v")
    dtype = torch.promote_types(q.dtype, torch.float32)
    shape = sizes["batch"], sizes["heads"], packed_size(sizes["d"])
    return TaylorState._make((Zeros((*shape, sizes["d_v"]), dtype), Zeros(shape, dtype)))


def taylor_attention_at(q: Tensor, k: Tensor, v: Tensor, positions: Tensor) -> Tensor:
    """`taylor_attention` at a few positions only, by the closed form, in plain PyTorch.

    q (batch, queries, heads, d) are the queries at ``positions`` (batch, queries), k and v those of
    all tokens. Returns (batch, queries, heads, d_v). This is cheaper than the closed form at all
    positions, but a GPU's kernels for all positions are faster still.
    """
    return reference.taylor_attention_at(q, k, v, positions)
