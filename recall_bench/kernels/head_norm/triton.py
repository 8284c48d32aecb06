"""Normalisation of each head in Triton, with its gate: each direction reads and writes once.

Dimensions: M rows of H heads of d channels; tiles of R rows, HT and DT are H and d
rounded up to powers of two. The backward pass recomputes statistics and sigmoid, and sums the
gradients of weight and bias in a fixed order.
"""
# mypy: disable-error-code="no-untyped-def"

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from recall_bench.kernels.plumbing.triton_sums import column_sum
from recall_bench.kernels.plumbing.triton_support import as_rows, differentiable, unavailable_for
from recall_bench.kernels.plumbing.triton_tiles import load_at, sigmoid, store_at


@triton.jit
def _channels(H, d, HT: tl.constexpr, DT: tl.constexpr):
    """The channels of a tile, (1, HT, DT), and which of them exist."""
    head = tl.arange(0, HT)[None, :, None]
    channel = tl.arange(0, DT)[None, None, :]
    return head * d + channel, (head < H) & (channel < d)


@triton.jit
def _normalise(y, there, d, eps):
    """y (R, HT, DT) less each head's mean, times its scale, and that scale (R, HT, 1)."""
    y = tl.where(there, y - tl.sum(y, 2, keep_dims=True) / d, 0.0)
    scale = tl.rsqrt(tl.sum(y * y, 2, keep_dims=True) / d + eps)
    return y * scale, scale


@triton.jit
def forward_kernel(
    y, gate, weight, bias, out, gate_m, M, H, d, eps,
    R: tl.constexpr, HT: tl.constexpr, DT: tl.constexpr,
):  # fmt: skip
    rows = (tl.program_id(0) * R + tl.arange(0, R))[:, None, None].to(tl.int64)
    channels, there = _channels(H, d, HT, DT)
    inside = (rows < M) & there
    normed, _ = _normalise(load_at(y, rows * (H * d) + channels, inside), there, d, eps)
    affine = normed * load_at(weight, channels, there) + load_at(bias, channels, there)
    z = load_at(gate, rows * gate_m + channels, inside)
    store_at(out, rows * (H * d) + channels, affine * z * sigmoid(z), inside)


@triton.jit
def backward_kernel(
    y, gate, weight, bias, d_out, dy, d_gate, parts, gate_m, d_out_m, M, H, d, eps,
    R: tl.constexpr, HT: tl.constexpr, DT: tl.constexpr,
):  # fmt: skip
    """dy and d_gate, and this program's part of d_weight and d_bias (2, H d)."""
    channels, there = _channels(H, d, HT, DT)
    gain = load_at(weight, channels, there)
    shift = load_at(bias, channels, there)
    d_weight = tl.zeros((R, HT, DT), tl.float32)
    d_bias = tl.zeros((R, HT, DT), tl.float32)
    for tile in range(tl.program_id(0), tl.cdiv(M, R), tl.num_programs(0)):
        rows = (tile * R + tl.arange(0, R))[:, None, None].to(tl.int64)
        inside = (rows < M) & there
        offset = rows * (H * d) + channels
        normed, scale = _normalise(load_at(y, offset, inside), there, d, eps)
        z = load_at(gate, rows * gate_m + channels, inside)
        share = sigmoid(z)
        slope = load_at(d_out, rows * d_out_m + channels, inside)
        opened = slope * (normed * gain + shift)
        store_at(d_gate, offset, opened * share * (1.0 + z * (1.0 - share)), inside)
        slope *= z * share
        d_weight += slope * normed
        d_bias += slope
        slope *= gain
        mean = tl.sum(slope, 2, keep_dims=True) / d
        along = tl.sum(slope * normed, 2, keep_dims=True) / d
        store_at(dy, offset, scale * (slope - mean - normed * along), inside)
    parts += tl.program_id(0) * 2 * H * d + channels
    tl.store(parts, tl.sum(d_weight, 0, keep_dims=True), mask=there)
    tl.store(parts + H * d, tl.sum(d_bias, 0, keep_dims=True), mask=there)


WIDTH_LIMIT = 4096
TILE = 2048  # elements
PROGRAMS = 1056  # eight for each multiprocessor of a large GPU; their parts are summed afterwards


def unavailable(op: str, tensor: Tensor) -> str | None:
    """The reason these kernels cannot run on a y like ``tensor``, or None."""
    if tensor.dim() > 1 and _elements(tensor) > WIDTH_LIMIT:
        return f"it takes rows of at most {WIDTH_LIMIT} numbers, heads and channels padded"
    return unavailable_for(tensor)


def head_norm(y: Tensor, gate: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """See `recall_bench.kernels.head_norm.head_norm`."""
    gated: Tensor = _head_norm(y, gate, weight, bias, eps)
    return gated


def _elements(y: Tensor) -> int:
    """The size of a row in its tile, heads and channels padded."""
    heads, d = y.shape[-2:]
    return int(triton.next_power_of_2(max(1, heads)) * triton.next_power_of_2(max(1, d)))


def _tiles(y: Tensor) -> dict[str, int]:
    heads, d = (triton.next_power_of_2(size) for size in y.shape[-2:])
    width = heads * d
    warps = 4 if width <= TILE else 8
    return {"R": max(1, TILE // width), "HT": heads, "DT": d, "num_warps": warps}


def _forward(y: Tensor, gate: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    out = _shapes(y, gate, weight, bias, eps)
    if y.numel() == 0:
        return out
    (H, d), tiles, rows = y.shape[-2:], _tiles(y), as_rows(gate)
    forward_kernel[(triton.cdiv(len(rows), tiles["R"]),)](
        y.contiguous(), rows, weight.contiguous(), bias.contiguous(), out,
        rows.stride(0), len(rows), H, d, eps, **tiles,
    )  # fmt: skip
    return out


def _shapes(y: Tensor, gate: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return torch.empty(gate.shape, dtype=gate.dtype, device=gate.device)


@torch.library.custom_op("recall_bench::head_norm_backward", mutates_args=())
def _backward(
    y: Tensor, gate: Tensor, weight: Tensor, bias: Tensor, d_out: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of y, of the gate, and of weight and bias together (2, heads d), in float32."""
    dy, d_gate, d_affine = _backward_shapes(y, gate, weight, bias, d_out, eps)
    if y.numel() == 0:
        return dy, d_gate, d_affine.zero_()
    (H, d), tiles, rows, slopes = y.shape[-2:], _tiles(y), as_rows(gate), as_rows(d_out)
    programs = min(PROGRAMS, triton.cdiv(len(rows), tiles["R"]))
    parts = torch.empty(programs, 2, H * d, dtype=torch.float32, device=y.device)
    backward_kernel[(programs,)](
        y.contiguous(), rows, weight.contiguous(), bias.contiguous(), slopes, dy, d_gate, parts,
        rows.stride(0), slopes.stride(0), len(rows), H, d, eps, **tiles,
    )  # fmt: skip
    return dy, d_gate, column_sum(parts.flatten(1)).view_as(d_affine)


@_backward.register_fake
def _backward_shapes(
    y: Tensor, gate: Tensor, weight: Tensor, bias: Tensor, d_out: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    dy, d_gate = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (y, gate))
    return dy, d_gate, torch.empty(2, *weight.shape, dtype=torch.float32, device=y.device)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.eps = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
    y, gate, weight, bias = ctx.saved_tensors
    dy, d_gate, d_affine = _backward(y, gate, weight, bias, d_out, ctx.eps)
    return dy, d_gate, d_affine[0].to(weight.dtype), d_affine[1].to(bias.dtype), None


_head_norm_op = torch.library.custom_op("recall_bench::head_norm", _forward, mutates_args=())
_head_norm_op.register_fake(_shapes)
_head_norm_op.register_autograd(_differentiate, setup_context=_save)
_head_norm = differentiable(_head_norm_op, _forward, _save, _differentiate)
