"""S4D: a diagonal state space model with constant coefficients, shared by many sequences."""

import torch
from torch import Tensor

from recall_bench.kernels.plumbing.operator import Layout, Shapes, Zeros, operator

__all__ = ["s4d"]


@operator(length_axis=-1)
def s4d(
    kv: Tensor,
    log_dt: Tensor,
    log_A_real: Tensor,
    A_imag: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
) -> Layout:
    """h_t = A' h_{t-1} + B' x_t;  y_t = 2 Re sum_n C_n h_{t,n} + D x_t, with x = kv.

    S4D (arXiv 2206.11893, section 3), H3's diagonal model (arXiv 2212.14052): N modes per head, one
    of each conjugate pair. A' = (1 + dt A / 2) / (1 - dt A / 2) and B' = dt B / (1 - dt A / 2)
    are A = -exp(log_A_real) + i A_imag and B after the bilinear rule, with dt = exp(log_dt).

    Autocast is ignored: sums over whole sequences need the precision of the parameters.

    Args:
        kv: (batch, heads, …, length), one model per head; any length, also 0.
        log_dt: (heads, 1).
        log_A_real, A_imag: (heads, N).
        B, C: (heads, N, 2), real and imaginary parts.
        D: (heads,).

    Returns:
        (batch, heads, …, length) in the dtype of D, but at least float32. The state is h
        (batch, heads, …, N), complex numbers of that precision.
    """
    sizes = Shapes("s4d")
    sizes.check("kv", kv, "batch heads … length")
    for name, tensor, axes in (
        ("log_dt", log_dt, "heads 1"),
        ("log_A_real", log_A_real, "heads N"),
        ("A_imag", A_imag, "heads N"),
        ("B", B, "heads N 2"),
        ("C", C, "heads N 2"),
        ("D", D, "heads"),
    ):
        sizes.check(name, tensor, axes)
    dtype = torch.promote_types(D.dtype, torch.complex64)
    return Zeros((*kv.shape[:-1], sizes["N"]), dtype)
