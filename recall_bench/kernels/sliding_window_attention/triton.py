"""Sliding-window attention in Triton: online softmax over the key tiles in reach of a query tile.

Dimensions: B batch, T length, H heads, G key-value heads, d and dv the head dimensions of keys and
values, padded to D and V; tiles of M queries and N keys, or of C each; W window.
"""

import functools
from typing import Any

import torch
import triton
from torch import Tensor

from recall_bench.kernels.plumbing.triton_support import (
    Launches,
    differentiable,
    dot_constants,
    needs_gradient,
    on_own_device,
    rows_contiguous,
    unavailable_for,
)
from recall_bench.kernels.sliding_window_attention import reference
from recall_bench.kernels.sliding_window_attention.ring import WindowState, ring
from recall_bench.kernels.sliding_window_attention.triton_backward import backward_kernel
from recall_bench.kernels.sliding_window_attention.triton_forward import forward_kernel
from recall_bench.kernels.sliding_window_attention.triton_step import step_kernel

HEAD_DIM_LIMIT = 256


def unavailable(op: str, tensor: Tensor) -> str | None:
    """The reason these kernels cannot run on a q like ``tensor``, or None."""
    if tensor.shape[-1] > HEAD_DIM_LIMIT:
        return f"its head dimension is at most {HEAD_DIM_LIMIT}, not {tensor.shape[-1]}"
    return unavailable_for(tensor)


def sliding_window_attention(
    q: Tensor, k: Tensor, v: Tensor, window: int, return_state: bool = False
) -> Tensor | tuple[Tensor, WindowState]:
    """See `recall_bench.kernels.sliding_window_attention.sliding_window_attention`."""
    query_dtype = q.dtype
    state = ring(k, v, window) if return_state else None
    if not query_dtype == k.dtype == v.dtype:
        dtype = functools.reduce(torch.promote_types, (query_dtype, k.dtype, v.dtype))
        q, k, v = q.to(dtype), k.to(dtype), v.to(dtype)
    y: Tensor = _attention(q, k, v, window)[0].to(query_dtype)
    return y if state is None else (y, state)


def sliding_window_attention_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    window: int,
    initial_state: WindowState,
    return_state: bool = False,
) -> Tensor | tuple[Tensor, WindowState]:
    """One token of `sliding_window_attention`."""
    keys, values, position = initial_state
    if needs_gradient(q, k, v, keys, values):
        return reference.sliding_window_attention_step(q, k, v, window, initial_state, return_state)
    y, *state = _step(q[:, 0], k[:, 0], v[:, 0], keys, values, position)
    return (y[:, None], WindowState(*state)) if return_state else y[:, None]


class _Plan:
    """Sizes of one problem, and the launches of its kernels."""

    def __init__(
        self,
        shape: tuple[int, ...],
        kv_heads: int,
        dv: int,
        window: int,
        dtype: torch.dtype,
        strides: tuple[int, ...],
    ):
        B, T, H, d = shape
        D, V = (max(16, triton.next_power_of_2(n)) for n in (d, dv))
        common = {"d": d, "dv": dv, "D": D, "V": V, **dot_constants(dtype)}
        operand = 4 if common["DTYPE"] == triton.language.float32 else 2
        exact = common["PRECISION"] == "tf32x3"
        M, N, warps, stages = _forward_tiles(max(D, V), operand, exact)
        self.forward = {**common, "M": M, "N": N, "num_warps": warps, "num_stages": stages}
        self.forward_grid = (B * H * triton.cdiv(T, M),)
        C, warps, stages = _backward_tiles(max(D, V), operand)
        self.backward = {**common, "C": C, "num_warps": warps, "num_stages": stages}
        self.backward_grid = (B * (H + kv_heads) * triton.cdiv(T, C),)
        self.sizes = *strides, T, H, H // kv_heads, min(window, T)
        self.launch = Launches()


def _forward_tiles(dim: int, operand: int, exact: bool) -> tuple[int, int, int, int]:
    """M, N, warps and stages for operands of 2 or 4 bytes, as measured on an H200."""
    if exact or dim > 128:
        return 32, 32, 4, 2
    if operand == 4:
        return (64, 64, 4, 2) if dim <= 64 else (128, 64, 8, 2)
    return (64, 64, 4, 3) if dim <= 64 else (64, 64, 4, 2)


def _backward_tiles(dim: int, operand: int) -> tuple[int, int, int]:
    """C, warps and stages for operands of 2 or 4 bytes, as measured on an H200."""
    if operand == 2 and dim <= 128:
        return 64, 4, 1 if dim <= 64 else 2
    return 32, 4, 2 if dim <= 128 else 1


@functools.lru_cache(maxsize=256)
def _cached_plan(precision: str, *key: Any) -> _Plan:
    return _Plan(*key)


def _plan(q: Tensor, k: Tensor, v: Tensor, window: int) -> _Plan:
    """The plan for tensors of this layout and device, at the current matmul precision."""
    strides = *q.stride()[:3], *k.stride()[:3], *v.stride()[:3]
    precision = torch.get_float32_matmul_precision() + str(q.device)
    return _cached_plan(precision, q.shape, k.shape[2], v.shape[3], window, q.dtype, strides)


def _forward(q: Tensor, k: Tensor, v: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """y, and the log2 of the sums of exponentials: (B, H, T)."""
    y, lse = _attention_shapes(q, k, v, window)
    if y.numel() == 0:
        return y, lse
    q, k, v = rows_contiguous(q), rows_contiguous(k), rows_contiguous(v)
    plan = _plan(q, k, v, window)
    plan.launch(forward_kernel, plan.forward_grid, (q, k, v, y, lse), plan.sizes, plan.forward)
    return y, lse


def _attention_shapes(q: Tensor, k: Tensor, v: Tensor, window: int) -> tuple[Tensor, Tensor]:
    B, T, H, _ = q.shape
    return q.new_empty(B, T, H, v.shape[-1]), q.new_empty(B, H, T, dtype=torch.float32)


def _backward(
    q: Tensor, k: Tensor, v: Tensor, y: Tensor, lse: Tensor, dy: Tensor, window: int
) -> tuple[Tensor, Tensor, Tensor]:
    dq, dk, dv = _attention_backward_shapes(q, k, v, y, lse, dy, window)
    if y.numel() == 0:
        return dq.zero_(), dk.zero_(), dv.zero_()
    q, k, v, dy = rows_contiguous(q), rows_contiguous(k), rows_contiguous(v), dy.contiguous()
    plan = _plan(q, k, v, window)
    tensors = q, k, v, y, lse, dy, dq, dk, dv
    plan.launch(backward_kernel, plan.backward_grid, tensors, plan.sizes, plan.backward)
    return dq, dk, dv


_backward_op = torch.library.custom_op(
    "recall_bench::sliding_window_attention_backward", _backward, mutates_args=()
)


@_backward_op.register_fake
def _attention_backward_shapes(
    q: Tensor, k: Tensor, v: Tensor, y: Tensor, lse: Tensor, dy: Tensor, window: int
) -> tuple[Tensor, Tensor, Tensor]:
    dq, dk, dv = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
    return dq, dk, dv


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, ctx.window = inputs
    ctx.save_for_backward(q, k, v, *output)


def _differentiate(ctx: Any, dy: Tensor, _: Any) -> tuple[Tensor | None, ...]:
    return *_backward_op(*ctx.saved_tensors, dy, ctx.window), None


def _differentiate_eagerly(ctx: Any, dy: Tensor, _: Any) -> tuple[Tensor | None, ...]:
    q, k, v, y, lse = ctx.saved_tensors
    return *_backward(q, k, v, y, lse, dy, ctx.window), None


_attention_op = torch.library.custom_op(
    "recall_bench::sliding_window_attention", on_own_device(_forward), mutates_args=()
)
_attention_op.register_fake(_attention_shapes)
_attention_op.register_autograd(_differentiate, setup_context=_save)
_attention = differentiable(_attention_op, _forward, _save, _differentiate_eagerly)


@torch.library.custom_op("recall_bench::sliding_window_attention_step", mutates_args=())
@on_own_device
def _step(
    q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor, position: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    q, k, v = (rows_contiguous(x) for x in (q, k, v))
    keys, values, position = keys.contiguous(), values.contiguous(), position.contiguous()
    outputs = _step_shapes(q, k, v, keys, values, position)
    B, W, G, d = keys.shape
    if outputs[0].numel() > 0:
        D, V = (max(16, triton.next_power_of_2(x)) for x in (d, v.shape[-1]))
        group = q.shape[1] // G
        M = triton.next_power_of_2(group)
        step_kernel[(B * G,)](
            q, k, v, keys, values, position, *outputs,
            *q.stride()[:2], *k.stride()[:2], *v.stride()[:2], group, W, G,
            d=d, dv=v.shape[-1], D=D, V=V, M=M,
            N=max(1, min(triton.next_power_of_2(W), 4096 // (max(D, V) * M))), num_warps=4,
        )  # fmt: skip
    return outputs


@_step.register_fake
def _step_shapes(
    q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor, position: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    y = q.new_empty(*q.shape[:2], v.shape[-1])
    return y, torch.empty_like(keys), torch.empty_like(values), torch.empty_like(position)
