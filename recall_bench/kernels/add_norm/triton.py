"""Residual addition and normalisation in Triton: each direction reads and writes once.

Dimensions: M rows, D width; tiles of R whole rows. The backward pass recomputes the statistics
from the sum, which it reads anyway, and sums the gradients of weight and bias in a fixed order.
"""
# mypy: disable-error-code="no-untyped-def"

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from recall_bench.kernels.add_norm.reference import Kind
from recall_bench.kernels.plumbing.side import aside
from recall_bench.kernels.plumbing.triton_rows import add_rows
from recall_bench.kernels.plumbing.triton_sums import column_sum
from recall_bench.kernels.plumbing.triton_support import as_rows, differentiable, unavailable_for
from recall_bench.kernels.rows_at.reference import rows_at as gather
from recall_bench.kernels.rows_at.triton import rows_at


@triton.jit
def _load(x, rows, d, M, D, stride):
    """Rows of x (M, D), zeros outside: (R, D) float32."""
    inside = (rows < M)[:, None] & (d < D)[None, :]
    offset = rows.to(tl.int64)[:, None] * stride + d[None, :]
    return tl.load(x + offset, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _store(x, value, rows, d, M, D):
    inside = (rows < M)[:, None] & (d < D)[None, :]
    offset = rows.to(tl.int64)[:, None] * D + d[None, :]
    tl.store(x + offset, value.to(x.dtype.element_ty), mask=inside)


@triton.jit
def _normalise(total, d, D, eps, CENTRE: tl.constexpr):
    """The rows (R, D) before weight and bias, and the scale of each (R,)."""
    if CENTRE:
        mean = tl.sum(total, 1) / D
        total = tl.where((d < D)[None, :], total - mean[:, None], 0.0)
    scale = tl.rsqrt(tl.sum(total * total, 1) / D + eps)
    return total * scale[:, None], scale


@triton.jit
def _forward_kernel(
    x, residual, weight, bias, normed, total, x_m, residual_m, M, D, eps,
    ADD: tl.constexpr, BIAS: tl.constexpr, CENTRE: tl.constexpr,
    R: tl.constexpr, D_TILE: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * R + tl.arange(0, R)
    d = tl.arange(0, D_TILE)
    summed = _load(x, rows, d, M, D, x_m)
    if ADD:
        summed += _load(residual, rows, d, M, D, residual_m)
        rounded = summed.to(total.dtype.element_ty)  # the backward pass reads this rounded sum
        _store(total, rounded, rows, d, M, D)
        summed = rounded.to(tl.float32)
    y, _ = _normalise(summed, d, D, eps, CENTRE)
    y *= tl.load(weight + d, mask=d < D, other=0.0).to(tl.float32)[None, :]
    if BIAS:
        y += tl.load(bias + d, mask=d < D, other=0.0).to(tl.float32)[None, :]
    _store(normed, y, rows, d, M, D)


@triton.jit
def _backward_kernel(
    total, weight, d_normed, d_total, dx, d_residual, parts,
    total_m, d_normed_m, d_total_m, M, D, eps,
    TOTAL: tl.constexpr, SPLIT: tl.constexpr, CENTRE: tl.constexpr,
    R: tl.constexpr, D_TILE: tl.constexpr,
):  # fmt: skip
    """dx, in a second dtype d_residual, and this program's part of d_weight and d_bias (2, D)."""
    d = tl.arange(0, D_TILE)
    gain = tl.load(weight + d, mask=d < D, other=0.0).to(tl.float32)[None, :]
    d_weight = tl.zeros((R, D_TILE), tl.float32)
    d_bias = tl.zeros((R, D_TILE), tl.float32)
    for tile in range(tl.program_id(0), tl.cdiv(M, R), tl.num_programs(0)):
        rows = tile * R + tl.arange(0, R)
        y, scale = _normalise(_load(total, rows, d, M, D, total_m), d, D, eps, CENTRE)
        dy = _load(d_normed, rows, d, M, D, d_normed_m)
        d_weight += dy * y
        d_bias += dy
        dy *= gain
        gradient = dy - y * (tl.sum(dy * y, 1) / D)[:, None]
        if CENTRE:
            gradient -= (tl.sum(dy, 1) / D)[:, None]
        gradient *= scale[:, None]
        if TOTAL:
            gradient += _load(d_total, rows, d, M, D, d_total_m)
        _store(dx, gradient, rows, d, M, D)
        if SPLIT:
            _store(d_residual, gradient, rows, d, M, D)
    parts += tl.program_id(0) * 2 * D
    tl.store(parts + d, tl.sum(d_weight, 0), mask=d < D)
    tl.store(parts + D + d, tl.sum(d_bias, 0), mask=d < D)


WIDTH_LIMIT = 4096
TILE = 2048  # elements
PROGRAMS = 1056  # eight for each multiprocessor of a large GPU; their parts are summed afterwards


def unavailable(op: str, tensor: Tensor) -> str | None:
    """The reason these kernels cannot run on an x like ``tensor``, or None."""
    if tensor.dim() and tensor.shape[-1] > WIDTH_LIMIT:
        return f"it takes rows of at most {WIDTH_LIMIT} numbers, not {tensor.shape[-1]}"
    return unavailable_for(tensor)


def add_norm(
    x: Tensor,
    residual: Tensor | None,
    weight: Tensor,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    kind: Kind = "layernorm",
    dtype: torch.dtype | None = None,
    positions: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """See `recall_bench.kernels.add_norm.add_norm`; ``dtype`` is that of the first output."""
    arguments = x, residual, weight, bias, eps, kind == "layernorm", dtype or x.dtype
    if positions is not None:
        normed, rows, _ = _add_norm_at(positions, *arguments)
        return normed, rows
    normed, total = _add_norm(*arguments)
    return normed, total if total.shape == x.shape else x


def _tiles(D: int) -> dict[str, int]:
    width = triton.next_power_of_2(D)
    return {"R": max(1, TILE // width), "D_TILE": width, "num_warps": 4 if width <= TILE else 8}


def _forward(
    x: Tensor,
    residual: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    eps: float,
    centre: bool,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """The normalised rows and the sum; without a residual the sum is empty."""
    normed, total = _shapes(x, residual, weight, bias, eps, centre, dtype)
    if x.numel() == 0:
        return normed, total
    rows = as_rows(x)
    other = rows if residual is None else as_rows(residual)
    tiles, (M, D) = _tiles(x.shape[-1]), rows.shape
    _forward_kernel[(triton.cdiv(M, tiles["R"]),)](
        rows, other, weight, bias, normed, total, rows.stride(0), other.stride(0), M, D, eps,
        ADD=residual is not None, BIAS=bias is not None, CENTRE=centre, **tiles,
    )  # fmt: skip
    return normed, total


def _forward_through(x: Tensor, residual: Tensor | None, *others: Any) -> tuple[Tensor, Tensor]:
    """`_forward`, with x as the sum if there is no residual.

    The backward pass then adds both gradients of x at once, and custom operators may not return
    their inputs.
    """
    normed, total = _forward(x, residual, *others)
    return normed, x if residual is None else total


def _shapes(
    x: Tensor,
    residual: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    eps: float,
    centre: bool,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    normed = torch.empty(x.shape, dtype=dtype, device=x.device)
    if residual is None:
        return normed, x.new_empty(0)
    dtype = torch.promote_types(x.dtype, residual.dtype)
    return normed, torch.empty(x.shape, dtype=dtype, device=x.device)


@torch.library.custom_op("recall_bench::add_norm_backward", mutates_args=())
def _backward(
    total: Tensor,
    weight: Tensor,
    d_normed: Tensor,
    d_total: Tensor | None,
    eps: float,
    centre: bool,
    x_dtype: torch.dtype,
    residual_dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, of the residual (empty if the same as of x), and parts of the gradients of
    weight and bias (programs, 2, D)."""
    dx, d_residual, parts = _backward_shapes(
        total, weight, d_normed, d_total, eps, centre, x_dtype, residual_dtype
    )
    if total.numel() == 0:
        return dx, d_residual, parts
    total, d_normed = as_rows(total), as_rows(d_normed)
    other = total if d_total is None else as_rows(d_total)
    tiles, (M, D) = _tiles(total.shape[-1]), total.shape
    _backward_kernel[(len(parts),)](
        total, weight, d_normed, other, dx, d_residual, parts,
        total.stride(0), d_normed.stride(0), other.stride(0), M, D, eps,
        TOTAL=d_total is not None, SPLIT=x_dtype != residual_dtype, CENTRE=centre, **tiles,
    )  # fmt: skip
    return dx, d_residual, parts


@_backward.register_fake
def _backward_shapes(
    total: Tensor,
    weight: Tensor,
    d_normed: Tensor,
    d_total: Tensor | None,
    eps: float,
    centre: bool,
    x_dtype: torch.dtype,
    residual_dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:
    second = (0,) if x_dtype == residual_dtype else total.shape
    dx = torch.empty(total.shape, dtype=x_dtype, device=total.device)
    d_residual = torch.empty(second, dtype=residual_dtype, device=total.device)
    D = total.shape[-1]
    programs = min(PROGRAMS, triton.cdiv(total.numel() // D, _tiles(D)["R"])) if D else 0
    parts = torch.empty(programs, 2, D, dtype=torch.float32, device=total.device)
    return dx, d_residual, parts


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, residual, weight, bias, ctx.eps, ctx.centre, _ = inputs
    ctx.x_dtype = x.dtype
    ctx.residual_dtype = None if residual is None else residual.dtype
    ctx.save_for_backward(x if residual is None else output[1], weight, bias)


def _differentiate(
    ctx: Any, d_normed: Tensor | None, d_total: Tensor | None
) -> tuple[Tensor | None, ...]:
    total, weight, bias = ctx.saved_tensors
    if d_total is not None and d_total.shape != total.shape:
        d_total = None  # the sum is x itself, and autograd adds its gradient
    if d_normed is None:
        d_normed = torch.zeros_like(total)
    dx, d_residual, parts = _backward(
        total,
        weight,
        d_normed,
        d_total,
        ctx.eps,
        ctx.centre,
        ctx.x_dtype,
        ctx.residual_dtype or ctx.x_dtype,
    )

    def affine(parts: Tensor) -> list[Tensor | None]:
        d_weight, d_bias = column_sum(parts.flatten(1)).chunk(2)
        return [d_weight.to(weight.dtype), None if bias is None else d_bias.to(bias.dtype)]

    return (
        dx,
        None if ctx.residual_dtype is None else d_residual if d_residual.numel() else dx,
        *aside([weight, bias], affine, parts),
        *(None,) * 3,
    )


_add_norm_op = torch.library.custom_op("recall_bench::add_norm", _forward, mutates_args=())
_add_norm_op.register_fake(_shapes)
_add_norm_op.register_autograd(_differentiate, setup_context=_save)
_add_norm = differentiable(_add_norm_op, _forward_through, _save, _differentiate)


def _forward_at(positions: Tensor, x: Tensor, *others: Any) -> tuple[Tensor, Tensor, Tensor]:
    """`_forward` with one more output in between: the sum's rows at the positions."""
    normed, total = _forward(x, *others)
    return normed, gather(x if others[0] is None else total, positions), total


def _traced_at(positions: Tensor, x: Tensor, *others: Any) -> tuple[Tensor, Tensor, Tensor]:
    normed, total = _add_norm_op(x, *others)
    return normed, rows_at(x if others[0] is None else total, positions), total


def _save_at(ctx: Any, inputs: tuple[Any, ...], outputs: tuple[Tensor, Tensor, Tensor]) -> None:
    ctx.positions, *others = inputs
    _save(ctx, tuple(others), outputs[::2])


def _differentiate_at(
    ctx: Any, d_normed: Tensor | None, d_rows: Tensor | None, _: None
) -> tuple[Tensor | None, ...]:
    """Adds the rows' gradients in place to those of x and of the residual."""
    dx, d_residual, *others = _differentiate(ctx, d_normed, None)
    for gradient in (dx,) if d_residual is dx else (dx, d_residual):
        if gradient is not None and d_rows is not None:
            add_rows(gradient, d_rows, ctx.positions)
    return None, dx, d_residual, *others


_add_norm_at = differentiable(_traced_at, _forward_at, _save_at, _differentiate_at)
