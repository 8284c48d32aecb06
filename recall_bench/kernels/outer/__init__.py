"""Outer products of keys and values within each head, and their contraction with queries."""

from torch import Tensor

from recall_bench.kernels.plumbing import dispatch

__all__ = ["contract", "outer"]


def outer(k: Tensor, v: Tensor, backend: str = "auto") -> Tensor:
    """kv_ijt = k_ti v_tj within each head (H3, arXiv 2212.14052, section 3).

    Args:
        k, v: (batch, length, heads, p) of any strides.
        backend: "auto", "reference" or "triton".

    Returns:
        (batch, heads, p, p, length), in the dtype of products of k and v.
    """
    kv: Tensor = dispatch.implementation("outer", backend, k)(k, v)
    return kv


def contract(q: Tensor, y: Tensor, backend: str = "auto") -> Tensor:
    """out_tj = sum_i q_ti y_ijt within each head.

    Args:
        q: (batch, length, heads, p) of any strides.
        y: (batch, heads, p, p, length) of any strides, such as the output of `outer`.
        backend: "auto", "reference" or "triton".

    Returns:
        (batch, length, heads, p) in the dtype of q.
    """
    out: Tensor = dispatch.implementation("outer", backend, q, "contract")(q, y)
    return out
