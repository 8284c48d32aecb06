"""Mixing tokens with their predecessors in Triton: each direction reads and writes once.

Dimensions: M rows, the tokens of all sequences of length L; D width, N outputs; tiles
of R rows and C columns.
"""
# mypy: disable-error-code="no-untyped-def"

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from recall_bench.kernels.plumbing.triton_sums import column_sum
from recall_bench.kernels.plumbing.triton_support import differentiable, unavailable_for
from recall_bench.kernels.token_mix import reference

ROWS = 32
COLUMNS = 64
LIMIT = 4
"""The number of outputs for which the backward kernel has arguments."""


@triton.jit
def _load(x, rows, columns, inside, D):
    offset = rows.to(tl.int64)[:, None] * D + columns[None, :]
    return tl.load(x + offset, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _ratio(mix, n, columns, D):
    return tl.load(mix + n * D + columns, mask=columns < D, other=0.0).to(tl.float32)[None, :]


@triton.jit(do_not_specialize=["M", "L"])
def forward_kernel(x, mix, out, M, L, D, N: tl.constexpr, R: tl.constexpr, C: tl.constexpr):
    """out (N, M, D)."""
    rows = tl.program_id(0) * R + tl.arange(0, R)
    columns = tl.program_id(1) * C + tl.arange(0, C)
    inside = (rows < M)[:, None] & (columns < D)[None, :]
    now = _load(x, rows, columns, inside, D)
    before = _load(x, rows - 1, columns, inside & (rows % L > 0)[:, None], D)
    offset = rows.to(tl.int64)[:, None] * D + columns[None, :]
    for n in tl.static_range(N):
        mixed = before + _ratio(mix, n, columns, D) * (now - before)
        tl.store(out + offset, mixed.to(out.dtype.element_ty), mask=inside)
        out += M.to(tl.int64) * D


@triton.jit(do_not_specialize=["M", "L"])
def backward_kernel(
    x, mix, dy0, dy1, dy2, dy3, dx, parts, M, L, D,
    N: tl.constexpr, R: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """dx (M, D), and these rows' part of the gradient of mix: (programs, N, D)."""
    rows = tl.program_id(0) * R + tl.arange(0, R)
    columns = tl.program_id(1) * C + tl.arange(0, C)
    inside = (rows < M)[:, None] & (columns < D)[None, :]
    followed = inside & (rows % L < L - 1)[:, None]
    now = _load(x, rows, columns, inside, D)
    step = now - _load(x, rows - 1, columns, inside & (rows % L > 0)[:, None], D)
    total = tl.zeros((R, C), tl.float32)
    parts += tl.program_id(0).to(tl.int64) * N * D
    for n in tl.static_range(N):
        dy = dy0 if n == 0 else dy1 if n == 1 else dy2 if n == 2 else dy3
        ratio = _ratio(mix, n, columns, D)
        slope = _load(dy, rows, columns, inside, D)
        total += ratio * slope + (1.0 - ratio) * _load(dy, rows + 1, columns, followed, D)
        tl.store(parts + n * D + columns, tl.sum(slope * step, 0), mask=columns < D)
    offset = rows.to(tl.int64)[:, None] * D + columns[None, :]
    tl.store(dx + offset, total.to(dx.dtype.element_ty), mask=inside)


def unavailable(op: str, tensor: Tensor) -> str | None:
    """The reason these kernels cannot run on an x like ``tensor``, or None."""
    return unavailable_for(tensor)


def token_mix(x: Tensor, mix: Tensor, return_state: bool = False) -> Any:
    """See `recall_bench.kernels.token_mix.token_mix`; many outputs run on the reference."""
    if not 0 < len(mix) <= LIMIT:
        return reference.token_mix(x, mix, None, return_state)
    mixed: tuple[Tensor, ...] = _token_mix(x, mix)
    return (mixed, x[:, -1].clone()) if return_state else mixed


def _tiles(D: int) -> dict[str, int]:
    return {"R": ROWS, "C": min(COLUMNS, triton.next_power_of_2(D)), "num_warps": 4}


def _forward(x: Tensor, mix: Tensor) -> Tensor:
    out = _shapes(x, mix)
    if x.numel() > 0:
        (B, L, D), tiles = x.shape, _tiles(x.shape[-1])
        forward_kernel[triton.cdiv(B * L, tiles["R"]), triton.cdiv(D, tiles["C"])](
            x.contiguous(), mix.contiguous(), out, B * L, L, D, N=len(mix), **tiles
        )
    return out


def _shapes(x: Tensor, mix: Tensor) -> Tensor:
    return torch.empty(mix.shape[0], *x.shape, dtype=x.dtype, device=x.device)


@torch.library.custom_op("recall_bench::token_mix_backward", mutates_args=())
def _backward(x: Tensor, mix: Tensor, gradients: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Gradients of x, and of mix in float32; ``gradients`` (batch, length, D), one per output."""
    dx, d_mix = _backward_shapes(x, mix, gradients)
    if x.numel() == 0:
        return dx, d_mix.zero_()
    (B, L, D), N, tiles = x.shape, len(mix), _tiles(x.shape[-1])
    programs = triton.cdiv(B * L, tiles["R"])
    parts = torch.empty(programs, N, D, dtype=torch.float32, device=x.device)
    slopes = [dy.contiguous() for dy in gradients]
    backward_kernel[programs, triton.cdiv(D, tiles["C"])](
        x.contiguous(), mix.contiguous(), *slopes, *slopes[:1] * (LIMIT - N), dx, parts,
        B * L, L, D, N=N, **tiles,
    )  # fmt: skip
    return dx, column_sum(parts.flatten(1)).view_as(mix)


@_backward.register_fake
def _backward_shapes(x: Tensor, mix: Tensor, gradients: list[Tensor]) -> tuple[Tensor, Tensor]:
    dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    return dx, torch.empty(mix.shape, dtype=torch.float32, device=x.device)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    return _differentiate_parts(ctx, *dy.unbind(0))


def _differentiate_parts(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
    x, mix = ctx.saved_tensors
    slopes = [torch.zeros_like(x) if dy is None else dy for dy in gradients]
    dx, d_mix = _backward(x, mix, slopes)
    return dx, d_mix.to(mix.dtype)


def _forward_parts(x: Tensor, mix: Tensor) -> tuple[Tensor, ...]:
    return _forward(x, mix).unbind(0)


def _traced(x: Tensor, mix: Tensor) -> tuple[Tensor, ...]:
    parts: tuple[Tensor, ...] = _token_mix_op(x, mix).unbind(0)
    return parts


_token_mix_op = torch.library.custom_op("recall_bench::token_mix", _forward, mutates_args=())
_token_mix_op.register_fake(_shapes)
_token_mix_op.register_autograd(_differentiate, setup_context=_save)
_token_mix = differentiable(_traced, _forward_parts, _save, _differentiate_parts)
