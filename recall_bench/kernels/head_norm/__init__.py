"""Normalisation of each head, with a gate."""

from torch import Tensor

from recall_bench.kernels.plumbing import dispatch

__all__ = ["head_norm"]


def head_norm(
    y: Tensor, gate: Tensor, weight: Tensor, bias: Tensor, eps: float, backend: str = "auto"
) -> Tensor:
    """(layer_norm(y) weight + bias) silu(gate), each head with its own mean and variance.

    It follows RWKV-5's recurrence (arXiv 2404.05892, section 4.1).

    Args:
        y: (…, heads, d).
        gate: (…, heads d).
        weight, bias: (heads d,).
        eps: added to the variances.
        backend: "auto", "reference" or "triton".

    Returns:
        (…, heads d) in the dtype of ``gate``.
    """
    run = dispatch.implementation("head_norm", backend, y)
    gated: Tensor = run(y, gate, weight, bias, eps)
    return gated
