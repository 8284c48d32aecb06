"""The kernel of a diagonal SSM in plain PyTorch, on any device; also the training path on CPU.

H heads, N complex modes each, L length.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def s4d_kernel(
    log_dt: Tensor,
    log_A_real: Tensor,
    A_imag: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    length: int,
) -> Tensor:
    """See `recall_bench.kernels.s4d_kernel.s4d_kernel`."""
    A, B, C = discretise(log_dt, log_A_real, A_imag, B, C)  # (H, N)
    kernel = 2 * ((B * C)[:, None] @ powers(A, length)).real.squeeze(1)  # (H, L)
    return kernel + F.pad(D[:, None], (0, length - 1))


def discretise(
    log_dt: Tensor, log_A_real: Tensor, A_imag: Tensor, B: Tensor, C: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """A and B after the bilinear rule, and C: (H, N), complex."""
    dtype = torch.promote_types(C.dtype, torch.float32)
    log_dt, log_A_real, A_imag, B, C = (x.to(dtype) for x in (log_dt, log_A_real, A_imag, B, C))
    dt = torch.exp(log_dt)
    half = dt / 2 * torch.complex(-torch.exp(log_A_real), A_imag)
    B, C = (torch.view_as_complex(x.contiguous()) for x in (B, C))
    return (1 + half) / (1 - half), B * dt / (1 - half), C


def powers(base: Tensor, length: int) -> Tensor:
    """base^0 … base^(length-1): (…) -> (…, length)."""
    exponents = torch.arange(length, device=base.device, dtype=base.real.dtype)
    return torch.exp(base.log()[..., None] * exponents)
