"""Causal softmax attention to every token so far."""

from torch import Tensor

from recall_bench.kernels.attention.cache import Cache, reserve
from recall_bench.kernels.plumbing.operator import Layout, Shapes, Zeros, operator

__all__ = ["Cache", "attention", "reserve"]


@operator()
def attention(q: Tensor, k: Tensor, v: Tensor) -> Layout:
    """softmax(q_t.k_j / sqrt(d)) over j <= t (arXiv 1706.03762, equation 1).

    The keys of an initial state precede those of the call. The backend "reference" is PyTorch's own
    choice of kernel. `reserve` makes room in a state, so that ``state_out`` appends to it in place.

    Args:
        q: (batch, length, heads, d); any length, also 0.
        k, v: (batch, length, key-value heads, d); heads is a multiple of key-value heads.

    Returns:
        (batch, length, heads, d). The state is {"keys": …, "values": …}, each
        (batch, tokens, key-value heads, d).
    """
    sizes = Shapes("attention")
    sizes.check("q", q, "batch length heads d")
    sizes.check("k", k, "batch length key-value-heads d")
    sizes.check("v", v, "batch length key-value-heads d")
    sizes.check_groups("heads", "key-value-heads")
    shape = sizes["batch"], 0, sizes["key-value-heads"], sizes["d"]
    return {"keys": Zeros(shape, k.dtype, grows=True), "values": Zeros(shape, v.dtype, grows=True)}
