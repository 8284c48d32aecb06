"""Attention at a few positions in Triton: one program answers a tile of queries of one sequence.

Up to 64 queries are one tile (32 of the widest heads in exact float32), which reads its keys and
values once. A final sum adds up the gradients that several tiles compute for one key.

Dimensions: B batch, T length, Q queries, H heads, d head dimension, padded to D; tiles of M queries
and N keys.
"""

import functools
from typing import Any

import torch
import triton
from torch import Tensor

from recall_bench.kernels.attention_at.triton_backward import backward_kernel
from recall_bench.kernels.attention_at.triton_forward import forward_kernel
from recall_bench.kernels.plumbing.triton_support import (
    Launches,
    differentiable,
    dot_constants,
    on_own_device,
    rows_contiguous,
    unavailable_for,
)

HEAD_DIM_LIMIT = 128


def unavailable(op: str, tensor: Tensor) -> str | None:
    """The reason these kernels cannot run on a q like ``tensor``, or None."""
    if tensor.shape[-1] > HEAD_DIM_LIMIT:
        return f"its head dimension is at most {HEAD_DIM_LIMIT}, not {tensor.shape[-1]}"
    return unavailable_for(tensor)


def attention_at(q: Tensor, kv: Tensor, positions: Tensor, window: int | None = None) -> Tensor:
    """See `recall_bench.kernels.attention_at.attention_at`."""
    query_dtype = q.dtype
    if query_dtype != kv.dtype:
        dtype = torch.promote_types(query_dtype, kv.dtype)
        q, kv = q.to(dtype), kv.to(dtype)
    y = _attention(q, kv, positions, kv.shape[1] if window is None else window)[0]
    return y.to(query_dtype)


class _Plan:
    """Sizes of one problem, and the launches of its kernels."""

    def __init__(
        self,
        shape: tuple[int, ...],
        length: int,
        window: int,
        dtype: torch.dtype,
        strides: tuple[int, ...],
    ):
        B, Q, H, d = shape
        D = max(16, triton.next_power_of_2(d))
        products = dot_constants(dtype)
        operand = 4 if products["DTYPE"] == triton.language.float32 else 2
        exact = products["PRECISION"] == "tf32x3"
        M = _query_tile(Q, D, exact)
        common = {"d": d, "D": D, "M": M, **products}
        N, warps, stages = _forward_tiles(M, D, operand, exact)
        self.forward = {**common, "N": N, "num_warps": warps, "num_stages": stages}
        N, warps, stages = _backward_tiles(M, D, operand, exact)
        self.backward = {**common, "N": N, "num_warps": warps, "num_stages": stages}
        self.tiles = triton.cdiv(Q, M)
        self.grid = (B * H * self.tiles,)
        self.sizes = *strides, Q, length, H, min(window, length)
        self.launch = Launches()


def _query_tile(Q: int, D: int, exact: bool) -> int:
    """M: all queries if one program can hold them, which then computes whole gradients of keys."""
    return min(4096 // D if exact else 64, 64, max(16, triton.next_power_of_2(Q)))


def _forward_tiles(M: int, D: int, operand: int, exact: bool) -> tuple[int, int, int]:
    """N, warps and stages for operands of 2 or 4 bytes that a Hopper GPU holds in registers."""
    if exact:
        return 32, 4, 2
    return (32, 8, 2) if operand * M * D > 2**14 else (64, 4, 2)


def _backward_tiles(M: int, D: int, operand: int, exact: bool) -> tuple[int, int, int]:
    """N, warps and stages for operands of 2 or 4 bytes that a Hopper GPU holds in registers."""
    return 32, 8 if operand * M * D > (2**13 if exact else 2**14) else 4, 2


@functools.lru_cache(maxsize=256)
def _cached_plan(precision: str, *key: Any) -> _Plan:
    return _Plan(*key)


def _plan(q: Tensor, kv: Tensor, window: int) -> _Plan:
    """The plan for tensors of this layout and device, at the current matmul precision."""
    precision = torch.get_float32_matmul_precision() + str(q.device)
    strides = *q.stride()[:3], *kv.stride()[:4]
    return _cached_plan(precision, q.shape, kv.shape[1], window, q.dtype, strides)


def _forward(q: Tensor, kv: Tensor, positions: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """y, and the log2 of the sums of exponentials: (B, H, Q)."""
    y, lse = _shapes(q, kv, positions, window)
    if y.numel() == 0:
        return y, lse
    q, kv, positions = rows_contiguous(q), rows_contiguous(kv), positions.contiguous()
    plan = _plan(q, kv, window)
    plan.launch(forward_kernel, plan.grid, (q, kv, positions, y, lse), plan.sizes, plan.forward)
    return y, lse


def _shapes(q: Tensor, kv: Tensor, positions: Tensor, window: int) -> tuple[Tensor, Tensor]:
    B, Q, H, _ = q.shape
    return q.new_empty(q.shape), q.new_empty(B, H, Q, dtype=torch.float32)


def _backward(
    q: Tensor, kv: Tensor, positions: Tensor, y: Tensor, lse: Tensor, dy: Tensor, window: int
) -> tuple[Tensor, Tensor]:
    """dq and dkv, both contiguous."""
    dq, dkv = _backward_shapes(q, kv, positions, y, lse, dy, window)
    if y.numel() == 0:
        return dq.zero_(), dkv.zero_()
    q, kv, positions = rows_contiguous(q), rows_contiguous(kv), positions.contiguous()
    plan = _plan(q, kv, window)
    parts = dkv
    if plan.tiles > 1:
        parts = dkv.new_empty(len(kv), plan.tiles, *kv.shape[1:], dtype=torch.float32)
    tensors = q, kv, positions, y, lse, dy.contiguous(), dq, parts
    plan.launch(backward_kernel, plan.grid, tensors, plan.sizes, plan.backward)
    return dq, parts.sum(1).to(dkv.dtype) if plan.tiles > 1 else dkv


_backward_op = torch.library.custom_op(
    "recall_bench::attention_at_backward", _backward, mutates_args=()
)


@_backward_op.register_fake
def _backward_shapes(
    q: Tensor, kv: Tensor, positions: Tensor, y: Tensor, lse: Tensor, dy: Tensor, window: int
) -> tuple[Tensor, Tensor]:
    return q.new_empty(q.shape), kv.new_empty(kv.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.window = inputs
    ctx.save_for_backward(*tensors, *output)


def _differentiate(ctx: Any, dy: Tensor, _: Any) -> tuple[Tensor | None, ...]:
    return *_backward_op(*ctx.saved_tensors, dy, ctx.window), None, None


def _differentiate_eagerly(ctx: Any, dy: Tensor, _: Any) -> tuple[Tensor | None, ...]:
    q, kv, positions, y, lse = ctx.saved_tensors
    return *_backward(q, kv, positions, y, lse, dy, ctx.window), None, None


_attention_op = torch.library.custom_op(
    "recall_bench::attention_at", on_own_device(_forward), mutates_args=()
)
_attention_op.register_fake(_shapes)
_attention_op.register_autograd(_differentiate, setup_context=_save)
_attention = differentiable(_attention_op, _forward, _save, _differentiate_eagerly)
