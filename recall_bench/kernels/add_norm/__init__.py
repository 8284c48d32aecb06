"""Residual addition and normalisation in one pass, as before every mixer."""

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
        x: (…, D), the output of the layer before, added to the residual stream.
        residual: (…, D), the stream; total is x itself if None.
        weight: (D,).
        bias: (D,) or None.
        positions: (batch, queries) int64 for x (batch, length, D): total is returned at these
            positions only, so that its gradient is a few rows instead of a tensor of mostly zeros.
        backend: "auto", "reference" or "triton"; Triton up to D = 4096.

    Returns:
        The normalised values (…, D) in the dtype of x, or under autocast in its dtype; and total,
        or its rows (batch, queries, D), in the dtype of ``x + residual``. A total narrower than
        float32 is rounded before it is normalised.
    """
    run = dispatch.implementation("add_norm", backend, x)
    normed, total = run(x, residual, weight, bias, eps, kind, product_dtype(x), positions)
    return normed, total
