"""The convolution kernel of a diagonal state space model, shared by all sequences of a batch."""

from torch import Tensor

from recall_bench.kernels.plumbing import dispatch
from recall_bench.kernels.s4d_kernel.reference import discretise, powers

__all__ = ["discretise", "powers", "s4d_kernel"]


def s4d_kernel(
    log_dt: Tensor,
    log_A_real: Tensor,
    A_imag: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    length: int,
    backend: str = "auto",
) -> Tensor:
    """K_t = 2 Re sum_n C_n B'_n A'_n^t, plus D at t = 0 (S4D, arXiv 2206.11893, section 3).

    N modes per head, one of each conjugate pair. A' = (1 + dt A / 2) / (1 - dt A / 2) and
    B' = dt B / (1 - dt A / 2) are A = -exp(log_A_real) + i A_imag and B after the bilinear rule,
    with dt = exp(log_dt).

    Args:
        log_dt: (heads, 1).
        log_A_real, A_imag: (heads, N).
        B, C: (heads, N, 2), real and imaginary parts.
        D: (heads,).
        length: the number of values to compute, from t = 0 on; also 0.
        backend: "auto", "reference" or "triton".

    Returns:
        (heads, length), in at least float32.
    """
    run = dispatch.implementation("s4d_kernel", backend, D)
    kernel: Tensor = run(log_dt, log_A_real, A_imag, B, C, D, length)
    return kernel
