"""Residual addition and normalisation in one pass: what stands before every mixer."""

from typing import Literal

from torch import Tensor

from recall_bench.kernels.plumbing import dispatch
from recall_bench.kernels.plumbing.precision import product_dtype

__all__ = ["add_norm"]


def add_norm(
    x: Tensor,
    residual: Tensor | None,
    weight: Tensor,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    kind: Literal["layernorm", "rmsnorm"] = "layernorm",
    positions: Tensor | None = None,
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    """total = x + residual and norm(total) weight + bias, over the last dimension.

    LayerNorm (arXiv 1607.06450, equation 3, biased variance) or RMSNorm (arXiv 1910.07467,
    equation 4), with eps inside the root.

    Args:
        x: (…, D), what the layer before adds to the residual stream.
        residual: (…, D), the stream; total is x itself if None.
        weight: (D,).
        bias: (D,) or None.
        positions: (batch, queries) int64, where x is (batch, length, D): the only ones at which
            total is wanted. Its gradient then is a few rows, not a tensor of zeros with a few.
        backend: "auto", "reference" or "triton"; Triton up to D = 4096.

    Returns:
        The normalised values (…, D) in the dtype of x, under autocast in its own, and total, or
        its rows (batch, queries, D), in the dtype of ``x + residual``. A total narrower than
        float32 is rounded before it is normalised.
    """
    run = dispatch.implementation("add_norm", backend, x)
    normed, total = run(x, residual, weight, bias, eps, kind, product_dtype(x), positions)
    return normed, total
