"""Outer products within heads in Triton: each direction reads and writes once, and copies nothing.

Projections give outputs with adjacent channels, convolutions with adjacent tokens. Kernels read and
write tiles in the order of their memory, and transpose them in between.

Dimensions: B sequences of L tokens, H heads of P channels; tiles of HT heads and T tokens. Tensors
(B, L, H P) have strides b, l and c, and tensors (B, H, P P, L) strides b, h and r, with
adjacent tokens.
"""
# mypy: disable-error-code="no-untyped-def"

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from recall_bench.kernels.plumbing.triton_support import (
    differentiable,
    rows_contiguous,
    unavailable_for,
)
from recall_bench.kernels.plumbing.triton_tiles import load_at, store_at


@triton.jit
def _tokens(L, T: tl.constexpr):
    """A program's sequence and its tokens (1, T)."""
    tiles = tl.cdiv(L, T)
    start = tl.program_id(0) % tiles * T
    return (tl.program_id(0) // tiles).to(tl.int64), (start + tl.arange(0, T))[None, :]


@triton.jit
def _channels(x_b, x_l, x_c, L, H, P: tl.constexpr, HT: tl.constexpr, T: tl.constexpr):
    """Offsets of a program's part of x (B, L, H P), and which elements exist: (HT P, T)."""
    b, token = _tokens(L, T)
    channel = (tl.program_id(1) * (HT * P) + tl.arange(0, HT * P))[:, None]
    offset = b * x_b + channel.to(tl.int64) * x_c + token.to(tl.int64) * x_l
    return offset, (channel < H * P) & (token < L)


@triton.jit
def _load(x, x_b, x_l, x_c, L, H, P: tl.constexpr, HT: tl.constexpr, T: tl.constexpr):
    """A program's part of x (B, L, H P), in float32: (P, HT, T)."""
    offset, inside = _channels(x_b, x_l, x_c, L, H, P, HT, T)
    return tl.permute(tl.reshape(load_at(x, offset, inside), (HT, P, T)), (1, 0, 2))


@triton.jit
def _store(x, value, x_b, x_l, x_c, L, H, P: tl.constexpr, HT: tl.constexpr, T: tl.constexpr):
    """Write value (P, HT, T) to a program's part of x (B, L, H P)."""
    offset, inside = _channels(x_b, x_l, x_c, L, H, P, HT, T)
    store_at(x, offset, tl.reshape(tl.permute(value, (1, 0, 2)), (HT * P, T)), inside)


@triton.jit
def _pairs(y_b, y_h, y_r, L, H, P: tl.constexpr, HT: tl.constexpr, T: tl.constexpr):
    """Offsets of a program's part of y (B, H, P P, L), and which elements exist: (P, P, HT, T)."""
    b, token = _tokens(L, T)
    head = (tl.program_id(1) * HT + tl.arange(0, HT))[:, None]
    pair = tl.arange(0, P)[:, None] * P + tl.arange(0, P)[None, :]
    offset = b * y_b + head.to(tl.int64) * y_h + token
    inside = (head < H) & (token < L)
    return pair.to(tl.int64)[:, :, None, None] * y_r + offset[None, None], inside[None, None]


@triton.jit
def outer_kernel(
    k, v, kv, k_b, k_l, k_c, v_b, v_l, v_c, kv_b, kv_h, kv_r, L, H,
    P: tl.constexpr, HT: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    keys = _load(k, k_b, k_l, k_c, L, H, P, HT, T)[:, None]
    values = _load(v, v_b, v_l, v_c, L, H, P, HT, T)[None]
    offset, inside = _pairs(kv_b, kv_h, kv_r, L, H, P, HT, T)
    store_at(kv, offset, keys * values, inside)


@triton.jit
def outer_backward_kernel(
    k, v, d_kv, dk, dv, k_b, k_l, k_c, v_b, v_l, v_c, d_kv_b, d_kv_h, d_kv_r,
    dk_b, dk_l, dk_c, dv_b, dv_l, dv_c, L, H,
    P: tl.constexpr, HT: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    keys = _load(k, k_b, k_l, k_c, L, H, P, HT, T)[:, None]
    values = _load(v, v_b, v_l, v_c, L, H, P, HT, T)[None]
    offset, inside = _pairs(d_kv_b, d_kv_h, d_kv_r, L, H, P, HT, T)
    slopes = load_at(d_kv, offset, inside)
    _store(dk, tl.sum(slopes * values, 1), dk_b, dk_l, dk_c, L, H, P, HT, T)
    _store(dv, tl.sum(slopes * keys, 0), dv_b, dv_l, dv_c, L, H, P, HT, T)


@triton.jit
def contract_kernel(
    q, y, out, q_b, q_l, q_c, y_b, y_h, y_r, out_b, out_l, out_c, L, H,
    P: tl.constexpr, HT: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    queries = _load(q, q_b, q_l, q_c, L, H, P, HT, T)[:, None]
    offset, inside = _pairs(y_b, y_h, y_r, L, H, P, HT, T)
    total = tl.sum(queries * load_at(y, offset, inside), 0)
    _store(out, total, out_b, out_l, out_c, L, H, P, HT, T)


@triton.jit
def contract_backward_kernel(
    q, y, d_out, dq, dy, q_b, q_l, q_c, y_b, y_h, y_r, d_out_b, d_out_l, d_out_c,
    dq_b, dq_l, dq_c, dy_b, dy_h, dy_r, L, H,
    P: tl.constexpr, HT: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    queries = _load(q, q_b, q_l, q_c, L, H, P, HT, T)[:, None]
    slopes = _load(d_out, d_out_b, d_out_l, d_out_c, L, H, P, HT, T)[None]
    offset, inside = _pairs(y_b, y_h, y_r, L, H, P, HT, T)
    total = tl.sum(load_at(y, offset, inside) * slopes, 1)
    _store(dq, total, dq_b, dq_l, dq_c, L, H, P, HT, T)
    offset, inside = _pairs(dy_b, dy_h, dy_r, L, H, P, HT, T)
    store_at(dy, offset, queries * slopes, inside)


HEAD_DIMS = (1, 2, 4, 8)
CHANNELS = 32  # in float32 they fill a cache line
TILE = 2048  # products


def unavailable(op: str, tensor: Tensor) -> str | None:
    """The reason these kernels cannot run on keys or queries like ``tensor``, or None."""
    if tensor.dim() > 1 and tensor.shape[-1] not in HEAD_DIMS:
        return f"it takes heads of 1, 2, 4 and 8 channels, not {tensor.shape[-1]}"
    return unavailable_for(tensor)


def outer(k: Tensor, v: Tensor) -> Tensor:
    """See `recall_bench.kernels.outer.outer`; laid out for a product with one matrix per head."""
    kv: Tensor = _outer(k, v)
    return kv


def contract(q: Tensor, y: Tensor) -> Tensor:
    """See `recall_bench.kernels.outer.contract`; the result is contiguous."""
    out: Tensor = _contract(q, y)
    return out


def _launch(kernel: Any, like: Tensor, *tensors: Tensor) -> None:
    """``kernel`` on tensors (B, L, H, p), as ``like`` is, and (B, H, p, p, L)."""
    B, L, H, P = like.shape
    HT = min(triton.next_power_of_2(H), CHANNELS // P)
    T = min(triton.next_power_of_2(L), TILE // (CHANNELS * P))
    rows = [x.flatten(2) if x.dim() == 4 else rows_contiguous(x.flatten(2, 3)) for x in tensors]
    strides = [stride for x in rows for stride in x.stride()[:3]]
    kernel[B * triton.cdiv(L, T), triton.cdiv(H, HT)](
        *rows, *strides, L, H, P=P, HT=HT, T=T, num_warps=4
    )


def _empty_as(x: Tensor) -> Tensor:
    """A new tensor (B, L, H, p), with adjacent tokens or channels as in x."""
    return torch.empty_like(x.flatten(2)).unflatten(2, x.shape[2:])


def _empty_pairs(like: Tensor, dtype: torch.dtype) -> Tensor:
    """A new tensor (B, H, p, p, L) for ``like`` (B, L, H, p), with a head's sequences adjacent."""
    B, L, H, P = like.shape
    return torch.empty(H, B, P, P, L, dtype=dtype, device=like.device).transpose(0, 1)


def _outer_forward(k: Tensor, v: Tensor) -> Tensor:
    kv = _outer_shapes(k, v)
    if kv.numel() > 0:
        _launch(outer_kernel, k, k, v, kv)
    return kv


def _outer_shapes(k: Tensor, v: Tensor) -> Tensor:
    return _empty_pairs(k, torch.promote_types(k.dtype, v.dtype))


@torch.library.custom_op("recall_bench::outer_backward", mutates_args=())
def _outer_backward(k: Tensor, v: Tensor, d_kv: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of k and v."""
    dk, dv = _outer_backward_shapes(k, v, d_kv)
    if d_kv.numel() > 0:
        _launch(outer_backward_kernel, k, k, v, d_kv, dk, dv)
    return dk, dv


@_outer_backward.register_fake
def _outer_backward_shapes(k: Tensor, v: Tensor, d_kv: Tensor) -> tuple[Tensor, Tensor]:
    return _empty_as(k), _empty_as(v)


def _contract_forward(q: Tensor, y: Tensor) -> Tensor:
    out = _contract_shapes(q, y)
    if out.numel() > 0:
        _launch(contract_kernel, q, q, y, out)
    return out


def _contract_shapes(q: Tensor, y: Tensor) -> Tensor:
    return torch.empty(q.shape, dtype=q.dtype, device=q.device)


@torch.library.custom_op("recall_bench::contract_backward", mutates_args=())
def _contract_backward(q: Tensor, y: Tensor, d_out: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of q and y."""
    dq, dy = _contract_backward_shapes(q, y, d_out)
    if d_out.numel() > 0:
        _launch(contract_backward_kernel, q, q, y, d_out, dq, dy)
    return dq, dy


@_contract_backward.register_fake
def _contract_backward_shapes(q: Tensor, y: Tensor, d_out: Tensor) -> tuple[Tensor, Tensor]:
    return _empty_as(q), _empty_pairs(q, y.dtype)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate_outer(ctx: Any, d_kv: Tensor) -> tuple[Tensor, Tensor]:
    gradients: tuple[Tensor, Tensor] = _outer_backward(*ctx.saved_tensors, d_kv)
    return gradients


def _differentiate_contract(ctx: Any, d_out: Tensor) -> tuple[Tensor, Tensor]:
    gradients: tuple[Tensor, Tensor] = _contract_backward(*ctx.saved_tensors, d_out)
    return gradients


_outer_op = torch.library.custom_op("recall_bench::outer", _outer_forward, mutates_args=())
_outer_op.register_fake(_outer_shapes)
_outer_op.register_autograd(_differentiate_outer, setup_context=_save)
_outer = differentiable(_outer_op, _outer_forward, _save, _differentiate_outer)

_contract_op = torch.library.custom_op("recall_bench::contract", _contract_forward, mutates_args=())
_contract_op.register_fake(_contract_shapes)
_contract_op.register_autograd(_differentiate_contract, setup_context=_save)
_contract = differentiable(_contract_op, _contract_forward, _save, _differentiate_contract)
