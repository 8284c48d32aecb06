"""The kernel of a diagonal SSM in Triton: one launch forward, and one for all gradients.

Parameters and the first power of each tile are few, and computed in float64, so that phases of any
number of turns are exact. The powers within a tile of time follow from them in float32 by log2(T)
products.

Complex numbers are pairs (real, imaginary). A gradient with respect to z is the complex g with
dL = Re(g dz), so that it follows the chain rule without conjugates.

Dimensions: H heads, N modes, L length; tiles (M, T) of M modes and T times.
"""
# mypy: disable-error-code="no-untyped-def"

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from recall_bench.kernels.plumbing.triton_support import differentiable, unavailable_for


@triton.jit
def _times(x, y):
    return x[0] * y[0] - x[1] * y[1], x[0] * y[1] + x[1] * y[0]


@triton.jit
def _scaled(x, factor):
    return x[0] * factor, x[1] * factor


@triton.jit
def _plus(x, y):
    return x[0] + y[0], x[1] + y[1]


@triton.jit
def _load(x, offset, exists):
    return tl.load(x + offset, mask=exists, other=0.0).to(tl.float64)


@triton.jit
def _load_pair(x, offset, exists):
    return _load(x, 2 * offset, exists), _load(x, 2 * offset + 1, exists)


@triton.jit
def _store(x, value, offset, exists):
    value = value.to(tl.float32)  # Triton casts no other type to bfloat16
    tl.store(x + offset, value.to(x.dtype.element_ty), mask=exists)


@triton.jit
def _store_pair(x, gradient, offset, exists):
    """The gradients with respect to the real and to the imaginary part."""
    _store(x, gradient[0], 2 * offset, exists)
    _store(x, -gradient[1], 2 * offset + 1, exists)


@triton.jit
def _half_step(log_dt, log_A_real, A_imag, offset, exists):
    """dt, half = dt A / 2, and 1 / (1 - half), of modes (M,)."""
    dt = tl.exp(tl.load(log_dt).to(tl.float64))
    real = -0.5 * dt * tl.exp(_load(log_A_real, offset, exists))
    imaginary = 0.5 * dt * _load(A_imag, offset, exists)
    scale = 1.0 / ((1.0 - real) * (1.0 - real) + imaginary * imaginary)
    return dt, (real, imaginary), ((1.0 - real) * scale, imaginary * scale)


@triton.jit
def _powers(A, LOG_T: tl.constexpr):
    """A^0 … A^(T-1) of modes (M,), (M, T) in float32, and A^T, where T = 2^LOG_T."""
    T: tl.constexpr = 2**LOG_T
    t = tl.arange(0, T)[None, :]
    powers = tl.full((A[0].shape[0], T), 1.0, tl.float32), tl.zeros((A[0].shape[0], T), tl.float32)
    for bit in tl.static_range(LOG_T):
        real, imaginary = A[0].to(tl.float32)[:, None], A[1].to(tl.float32)[:, None]
        taken = (t >> bit) % 2 == 1
        powers = _times(powers, (tl.where(taken, real, 1.0), tl.where(taken, imaginary, 0.0)))
        A = _times(A, A)
    return powers, A


@triton.jit
def _weighted_sum(x, weight):
    """(M, T), (1, T) -> (M,), in float64."""
    return tl.sum(x[0] * weight, 1).to(tl.float64), tl.sum(x[1] * weight, 1).to(tl.float64)


@triton.jit(do_not_specialize=["L"])
def _forward_kernel(
    log_dt, log_A_real, A_imag, B, C, D, kernel, N, L, M: tl.constexpr, LOG_T: tl.constexpr
):
    h, tile = tl.program_id(0).to(tl.int64), tl.program_id(1)
    t = tile * 2**LOG_T + tl.arange(0, 2**LOG_T)
    total = tl.where(t == 0, tl.load(D + h).to(tl.float32), 0.0)
    for first in range(0, N, M):
        n = first + tl.arange(0, M)
        offset, exists = h * N + n, n < N
        dt, half, inverse = _half_step(log_dt + h, log_A_real, A_imag, offset, exists)
        powers, stride = _powers(_times((1.0 + half[0], half[1]), inverse), LOG_T)
        factor = _times(_load_pair(B, offset, exists), _load_pair(C, offset, exists))
        factor = _scaled(_times(factor, inverse), 2.0 * dt)
        for _ in range(tile):
            factor = _times(factor, stride)
        real, imaginary = factor[0].to(tl.float32)[:, None], factor[1].to(tl.float32)[:, None]
        total += tl.sum(real * powers[0] - imaginary * powers[1], 0)
    tl.store(kernel + h * L + t, total, mask=t < L)


@triton.jit(do_not_specialize=["L"])
def _backward_kernel(
    log_dt, log_A_real, A_imag, B, C, d_kernel,
    d_log_dt, d_log_A_real, d_A_imag, dB, dC, dD, N, L, M: tl.constexpr, LOG_T: tl.constexpr,
):  # fmt: skip
    """One program per head, which computes all sums over modes and time."""
    h = tl.program_id(0).to(tl.int64)
    d_kernel += h * L
    slopes = tl.zeros((M,), tl.float64)  # with respect to log_dt, by modes
    for first in range(0, N, M):
        n = first + tl.arange(0, M)
        offset, exists = h * N + n, n < N
        dt, half, inverse = _half_step(log_dt + h, log_A_real, A_imag, offset, exists)
        A = _times((1.0 + half[0], half[1]), inverse)
        powers, stride = _powers(A, LOG_T)
        zero = tl.zeros((M,), tl.float64)
        start = zero + 1.0, zero  # A^t at the first t of a tile
        by_factor = zero, zero  # sum_t dK_t A^t
        by_A = zero, zero  # sum_t dK_t t A^(t-1)
        for begin in range(0, L, 2**LOG_T):
            t = begin + tl.arange(0, 2**LOG_T)
            slope = tl.load(d_kernel + t, mask=t < L, other=0.0).to(tl.float32)[None, :]
            later = tl.load(d_kernel + t + 1, mask=t + 1 < L, other=0.0).to(tl.float32)[None, :]
            later *= (t + 1).to(tl.float32)[None, :]
            by_factor = _plus(by_factor, _times(start, _weighted_sum(powers, slope)))
            by_A = _plus(by_A, _times(start, _weighted_sum(powers, later)))
            start = _times(start, stride)
        B_n, C_n = _load_pair(B, offset, exists), _load_pair(C, offset, exists)
        discrete_B = _scaled(_times(B_n, inverse), dt)
        d_discrete_B = _scaled(_times(by_factor, C_n), 2.0)
        d_discrete_A = _scaled(_times(by_A, _times(discrete_B, C_n)), 2.0)
        # dA'/d half = 2 / (1 - half)^2, dB'/d half = B' / (1 - half)
        d_half = _times(_scaled(d_discrete_A, 2.0), inverse)
        d_half = _times(_plus(d_half, _times(d_discrete_B, discrete_B)), inverse)
        slopes += _times(d_discrete_B, discrete_B)[0] + _times(d_half, half)[0]
        _store(d_log_A_real, d_half[0] * half[0], offset, exists)
        _store(d_A_imag, -0.5 * dt * d_half[1], offset, exists)
        _store_pair(dB, _scaled(_times(d_discrete_B, inverse), dt), offset, exists)
        _store_pair(dC, _scaled(_times(by_factor, discrete_B), 2.0), offset, exists)
    _store(d_log_dt, tl.sum(slopes, 0), h, True)
    _store(dD, tl.load(d_kernel, mask=L > 0, other=0.0), h, True)


MODES = 16
"""The most modes in one tile."""

LOG_T = 7


def unavailable(op: str, tensor: Tensor) -> str | None:
    """The reason these kernels cannot run on a D like ``tensor``, or None."""
    return unavailable_for(tensor)


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
    kernel: Tensor = _s4d_kernel(log_dt, log_A_real, A_imag, B, C, D, length)
    return kernel


def _constants(modes: int) -> dict[str, int]:
    return {"M": min(triton.next_power_of_2(modes), MODES), "LOG_T": LOG_T, "num_warps": 4}


def _forward(
    log_dt: Tensor,
    log_A_real: Tensor,
    A_imag: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    length: int,
) -> Tensor:
    kernel = _shapes(log_dt, log_A_real, A_imag, B, C, D, length)
    if length > 0:
        H, N = A_imag.shape
        tensors = (x.contiguous() for x in (log_dt, log_A_real, A_imag, B, C, D))
        grid = H, triton.cdiv(length, 2**LOG_T)
        _forward_kernel[grid](*tensors, kernel, N, length, **_constants(N))
    return kernel


def _shapes(
    log_dt: Tensor,
    log_A_real: Tensor,
    A_imag: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    length: int,
) -> Tensor:
    return D.new_empty(D.shape[0], length, dtype=torch.float32)


@torch.library.custom_op("recall_bench::s4d_kernel_backward", mutates_args=())
def _backward(
    d_kernel: Tensor,
    log_dt: Tensor,
    log_A_real: Tensor,
    A_imag: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    gradients = _backward_shapes(d_kernel, log_dt, log_A_real, A_imag, B, C, D)
    H, N = A_imag.shape
    tensors = (x.contiguous() for x in (log_dt, log_A_real, A_imag, B, C, d_kernel))
    _backward_kernel[(H,)](*tensors, *gradients, N, d_kernel.shape[1], **_constants(N))
    return gradients


@_backward.register_fake
def _backward_shapes(
    d_kernel: Tensor,
    log_dt: Tensor,
    log_A_real: Tensor,
    A_imag: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    def empty(x: Tensor) -> Tensor:
        return torch.empty(x.shape, dtype=x.dtype, device=x.device)

    return empty(log_dt), empty(log_A_real), empty(A_imag), empty(B), empty(C), empty(D)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:-1])


def _differentiate(ctx: Any, d_kernel: Tensor) -> tuple[Tensor | None, ...]:
    return *_backward(d_kernel, *ctx.saved_tensors), None


_s4d_kernel_op = torch.library.custom_op("recall_bench::s4d_kernel", _forward, mutates_args=())
_s4d_kernel_op.register_fake(_shapes)
_s4d_kernel_op.register_autograd(_differentiate, setup_context=_save)
_s4d_kernel = differentiable(_s4d_kernel_op, _forward, _save, _differentiate)
