"""The selective scan in plain PyTorch, on any device; also the training path on CPU.

B batch, L length, D channels, N state size, T length of a chunk.

The recurrence runs token by token, vectorised over batch, state and channels, and every product
with exp(delta A) is a decay, so nothing can overflow. Its gradient is the same recurrence backwards
in time. Both are written by hand: only the state at the start of each chunk is kept, and backward
recomputes the others one chunk at a time, in buffers that stay in the cache.
"""

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from recall_bench.kernels.plumbing.precision import without_autocast

CHUNK_ELEMENTS = 2**19
"""T B N D of one chunk: the three buffers of this size fit in a processor's cache.

The gradient of A is summed chunk by chunk, so that another size rounds it differently.
"""

SMALL_PRODUCT = 400
"""Below this many multiplications PyTorch multiplies a batch of matrices by plain loops."""

FEW = 8
"""Up to this many terms, sums of scaled rows are faster than those loops, and equal to them."""

LOG2_E = math.log2(math.e)
"""exp(x) = exp2(x log2(e)): on CPU, PyTorch's exp2 can be four times faster than its exp."""


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    initial_state: Tensor | None = None,
    return_state: bool = False,
) -> Any:
    """See `recall_bench.kernels.selective_scan.selective_scan`."""
    dtype = torch.promote_types(u.dtype, torch.float32)
    delta = _step_size(delta.to(dtype), delta_bias, delta_softplus)
    x = u.to(dtype)
    if initial_state is None:
        state = x.new_zeros(x.shape[0], A.shape[1], x.shape[2])  # (B, N, D)
    else:
        state = initial_state.to(dtype).transpose(1, 2).contiguous()
    y, state = _Scan.apply(delta, delta * x, A.to(dtype), B.to(dtype), C.to(dtype), state)
    y = _skip_and_gate(y, x, D, z).to(u.dtype)
    return (y, state.transpose(1, 2).contiguous()) if return_state else y


def selective_scan_step(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    *,
    initial_state: Tensor,
    return_state: bool = False,
) -> Any:
    """One token of `selective_scan`: u, delta, z (B, 1, D), B, C (B, 1, N)."""
    dtype = torch.promote_types(u.dtype, torch.float32)
    x, delta, B, C = (v[:, 0].to(dtype) for v in (u, delta, B, C))
    delta = _step_size(delta, delta_bias, delta_softplus)
    decay = torch.exp(delta[..., None] * A.to(dtype))  # (B, D, N)
    state = decay * initial_state.to(dtype) + (delta * x)[..., None] * B[:, None]
    y = (state * C[:, None]).sum(-1)
    y = _skip_and_gate(y, x, D, None if z is None else z[:, 0]).to(u.dtype)[:, None]
    return (y, state) if return_state else y


def _step_size(delta: Tensor, bias: Tensor | None, softplus: bool) -> Tensor:
    delta = delta if bias is None else delta + bias.to(delta.dtype)
    return F.softplus(delta) if softplus else delta


def _skip_and_gate(y: Tensor, x: Tensor, D: Tensor | None, z: Tensor | None) -> Tensor:
    y = y if D is None else y + D.to(y.dtype) * x
    return y if z is None else y * F.silu(z.to(y.dtype))


class _Scan(torch.autograd.Function):
    """h_t = a_t h_{t-1} + B_t x_t^T and y_t = C_t h_t, with a_t = exp(delta_t A); h is (B, N, D).

    delta, x (B, L, D), A (D, N), B, C (B, L, N), h (B, N, D) -> y (B, L, D) and the last h.
    """

    @staticmethod
    def forward(
        ctx: Any, delta: Tensor, x: Tensor, A: Tensor, B: Tensor, C: Tensor, h: Tensor
    ) -> tuple[Tensor, Tensor]:
        A = (A.t() * LOG2_E).contiguous()  # (N, D)
        chunks, starts = _chunks(x.shape[1], h), []
        y = torch.empty_like(x)
        decays, states = _buffers(2, chunks, h)
        for t in chunks:
            starts.append(h.clone())
            _, H = _states(starts[-1], delta[:, t], x[:, t], A, B[:, t], decays, states)
            h = H[-1]
            y[:, t] = _rows_times(C[:, t], H)
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(delta, x, A, B, C, *starts)
        return y, h.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, dh: Tensor) -> tuple[Tensor, ...]:
        """The gradient of h_t is g_t = C_t dy_t^T + a_{t+1} g_{t+1}; ``dh`` carries a_t g_t."""
        delta, x, A, B, C, *starts = ctx.saved_tensors
        d_delta, dx, dB, dC = (torch.empty_like(v) for v in (delta, x, B, C))
        dA, natural_A = torch.zeros_like(dh), A / LOG2_E
        chunks = _chunks(x.shape[1], dh)
        decays, states, gradients = _buffers(3, chunks, dh)
        for t, start in zip(reversed(chunks), reversed(starts), strict=True):
            a, H = _states(start, delta[:, t], x[:, t], A, B[:, t], decays, states)
            g = _outer(dy[:, t], C[:, t], gradients)
            g[-1] += dh
            by_token = list(zip(a.unbind(), g.unbind(), strict=True))
            for (a_next, g_next), (_, g_here) in pairwise(reversed(by_token)):
                g_here.addcmul_(a_next, g_next)
            dC[:, t] = _rows_times(dy[:, t], H.mT)
            dB[:, t] = _rows_times(x[:, t], g.mT)
            dx[:, t] = _rows_times(B[:, t], g)
            a *= g
            dh = a[0].clone()
            a[0] *= start
            a[1:] *= H[:-1]  # from here on a is the gradient of delta_t A
            d_delta[:, t] = torch.mul(a, natural_A, out=g).sum(2).transpose(0, 1)
            for a_i, delta_i in zip(a.unbind(), delta[:, t, None].unbind(1), strict=True):
                dA.addcmul_(a_i, delta_i)
        return d_delta, dx, dA.sum(0).t(), dB, dC, dh


def _states(
    h: Tensor, delta: Tensor, x: Tensor, A: Tensor, B: Tensor, decays: Tensor, states: Tensor
) -> tuple[Tensor, Tensor]:
    """The decays and states (T, B, N, D) of a chunk that starts in h, written to the buffers.

    A is (N, D), times log2(e).
    """
    a = torch.mul(delta.transpose(0, 1)[:, :, None], A, out=decays[: delta.shape[1]]).exp2_()
    H = _outer(x, B, states)
    for a_i, H_i in zip(a.unbind(), H.unbind(), strict=True):
        h = H_i.addcmul_(a_i, h)
    return a, H


def _outer(row: Tensor, column: Tensor, buffer: Tensor) -> Tensor:
    """The products (T, B, N, D) of rows (B, T, D) and columns (B, T, N), written to the buffer."""
    row, column = row.transpose(0, 1)[:, :, None], column.transpose(0, 1)[..., None]
    return torch.mul(row, column, out=buffer[: row.shape[0]])


def _rows_times(rows: Tensor, matrices: Tensor) -> Tensor:
    """The rows (B, T, K) times the matrices (T, B, K, M): (B, T, M)."""
    rows = rows.transpose(0, 1)
    K, M = matrices.shape[2:]
    if K <= FEW and K * M < SMALL_PRODUCT:
        sums = rows[..., :1] * matrices[:, :, 0]
        for k in range(1, K):
            sums += rows[..., k : k + 1] * matrices[:, :, k]
        return sums.transpose(0, 1)
    with without_autocast(rows.device):
        return (rows[:, :, None] @ matrices).squeeze(2).transpose(0, 1)


def _chunks(length: int, h: Tensor) -> list[slice]:
    size = max(1, CHUNK_ELEMENTS // max(1, h.numel()))
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def _buffers(count: int, chunks: list[slice], h: Tensor) -> list[Tensor]:
    """``count`` tensors (T, B, N, D), T the length of the longest chunk."""
    longest = chunks[0].stop if chunks else 0
    return [h.new_empty(longest, *h.shape) for _ in range(count)]
