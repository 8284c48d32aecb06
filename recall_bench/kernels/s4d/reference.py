"""S4D in PyTorch, on any device: a long convolution, and powers of A' for the states.

The convolution and its kernel are separate operators, which choose their own backends.

B batch, H heads, R sequences of a head, L length, N modes.
"""

import math
from typing import Any

import torch
from torch import Tensor

from recall_bench.kernels.long_conv import long_conv
from recall_bench.kernels.s4d_kernel import discretise, powers, s4d_kernel


def s4d(
    kv: Tensor,
    log_dt: Tensor,
    log_A_real: Tensor,
    A_imag: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    initial_state: Tensor | None = None,
    return_state: bool = False,
) -> Any:
    """See `recall_bench.kernels.s4d.s4d`."""
    length, modes = kv.shape[-1], (log_dt, log_A_real, A_imag, B, C)
    if length == 0:
        return kv.to(torch.promote_types(D.dtype, torch.float32))
    y = long_conv(kv, s4d_kernel(*modes, D, length))
    if initial_state is None and not return_state:
        return y
    A, B, C = discretise(*modes)  # (H, N)
    decays = powers(A, length)  # (H, N, L)
    rows = *kv.shape[:2], math.prod(kv.shape[2:-1])
    if initial_state is not None:
        initial_state = initial_state.to(A.dtype).reshape(*rows, -1)  # (B, H, R, N)
        memory = 2 * ((C * A)[:, None] * initial_state @ decays).real
        y = y + memory.view(y.shape)
    if not return_state:
        return y
    h = kv.reshape(*rows, length).to(A.dtype) @ decays.flip(-1).mT * B[:, None]  # (B, H, R, N)
    if initial_state is not None:
        h = h + (A * decays[..., -1])[:, None] * initial_state
    return y, h.view(*kv.shape[:-1], -1)


def s4d_step(
    kv: Tensor,
    log_dt: Tensor,
    log_A_real: Tensor,
    A_imag: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    initial_state: Tensor,
    return_state: bool = False,
) -> Any:
    """One token of `s4d`: kv (B, H, …, 1)."""
    middle = [1] * (kv.dim() - 3)
    A, B, C = (
        x.view(len(x), *middle, -1) for x in discretise(log_dt, log_A_real, A_imag, B, C)
    )  # (H, …, N)
    D = D.to(A.real.dtype).view(-1, *middle)
    x = kv[..., 0].to(D.dtype)
    h = A * initial_state + B * x[..., None]
    y = (2 * (C * h).sum(-1).real + D * x)[..., None]
    return (y, h) if return_state else y
