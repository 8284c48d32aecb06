"""RWKV-5's recurrence in Triton: programs walk along the sequences with a state in registers.

The backward pass needs only the inputs, and there are no atomic additions, so that results repeat.

Dimensions: B batch, L length, H heads, d padded to D, dv to E.
"""
# mypy: disable-error-code="no-untyped-def"

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from recall_bench.kernels.plumbing.triton_sums import column_sum
from recall_bench.kernels.plumbing.triton_support import (
    differentiable,
    dot_constants,
    rows_contiguous,
    unavailable_for,
)
from recall_bench.kernels.wkv import reference
from recall_bench.kernels.wkv.triton_walks import walk_gradients, walk_outputs

WIDTH_LIMIT = 64


@triton.jit(do_not_specialize=["L", "H"])
def forward_kernel(
    r, k, v, log_decay, bonus, y, last, r_b, r_t, r_h, k_b, k_t, k_h, v_b, v_t, v_h, L, H,
    d: tl.constexpr, dv: tl.constexpr, D: tl.constexpr, E: tl.constexpr,
    DTYPE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One program: one head of one sequence."""
    b = (tl.program_id(0) // H).to(tl.int64)
    h = tl.program_id(0) % H
    walk_outputs(
        r + b * r_b + h * r_h, k + b * k_b + h * k_h, v + b * v_b + h * v_h,
        y + (b * L * H + h) * dv, log_decay + h * d, bonus + h * d, last,
        last + (b * H + h) * d * dv, r_t, k_t, v_t, H * dv, L, d, dv, D, E,
        INITIAL=False, LAST=True, REVERSE=False, DTYPE=DTYPE, PRECISION=PRECISION,
    )  # fmt: skip


@triton.jit(do_not_specialize=["L", "H"])
def backward_kernel(
    r, k, v, dy, log_decay, bonus, d_last, dr, dk, d_v, parts,
    r_b, r_t, r_h, k_b, k_t, k_h, v_b, v_t, v_h, dy_b, dy_t, dy_h, L, H,
    d: tl.constexpr, dv: tl.constexpr, D: tl.constexpr, E: tl.constexpr, M: tl.constexpr,
    GIVEN: tl.constexpr, DTYPE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One program: dk, d_v, or M channels of dr, of one head of one sequence.

    Programs of one sequence are adjacent, since they read the same inputs.
    """
    share = tl.program_id(0) % (2 + D // M)
    sequence = tl.program_id(0) // (2 + D // M)
    b = (sequence // H).to(tl.int64)
    h = sequence % H
    r += b * r_b + h * r_h
    k += b * k_b + h * k_h
    v += b * v_b + h * v_h
    dy += b * dy_b + h * dy_h
    first = b * L * H + h
    log_decay += h * d
    bonus += h * d
    d_last += (b * H + h) * d * dv
    if share == 0:
        walk_gradients(
            k, r, dy, v, dk + first * d, log_decay, bonus, d_last, parts,
            k_t, r_t, dy_t, v_t, H * d, L, H, 0, d, dv, D, E,
            GIVEN=GIVEN, REVERSE=True, DTYPE=DTYPE, PRECISION=PRECISION,
        )  # fmt: skip
    elif share == 1:
        walk_outputs(
            k, r, dy, d_v + first * dv, log_decay, bonus, d_last, d_last,
            k_t, r_t, dy_t, H * dv, L, d, dv, D, E,
            INITIAL=GIVEN, LAST=False, REVERSE=True, DTYPE=DTYPE, PRECISION=PRECISION,
        )  # fmt: skip
    else:
        walk_gradients(
            r, k, v, dy, dr + first * d, log_decay, bonus, d_last, parts + (2 * b * H + h) * d,
            r_t, k_t, v_t, dy_t, H * d, L, H, (share - 2) * M, d, dv, M, E,
            GIVEN=GIVEN, REVERSE=False, DTYPE=DTYPE, PRECISION=PRECISION,
        )  # fmt: skip


def unavailable(op: str, tensor: Tensor) -> str | None:
    """The reason these kernels cannot run on an r like ``tensor``, or None."""
    if tensor.shape[-1] > WIDTH_LIMIT:
        return f"it takes heads of at most {WIDTH_LIMIT} channels, not {tensor.shape[-1]}"
    return unavailable_for(tensor)


def wkv(
    r: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    bonus: Tensor,
    return_state: bool = False,
) -> Any:
    """See `recall_bench.kernels.wkv.wkv`; float64 decays and wide v run on the reference.

    It takes no ``initial_state``, which the zero tokens before the first chunk would decay.
    """
    if v.shape[-1] > WIDTH_LIMIT or log_decay.dtype == torch.float64:
        return reference.wkv(r, k, v, log_decay, bonus, return_state=return_state)
    y, state = _wkv(r, k, v, log_decay, bonus)
    return (y, state) if return_state else y


def _constants(r: Tensor, v: Tensor) -> dict[str, Any]:
    d, dv = r.shape[-1], v.shape[-1]
    D, E = (max(16, triton.next_power_of_2(width)) for width in (d, dv))
    products = dot_constants(r.dtype)
    if D == E == 16:  # too few channels for bfloat16's errors to cancel
        products["DTYPE"] = tl.float32
    return {"d": d, "dv": dv, "D": D, "E": E, **products}


def _options(constants: dict[str, Any], registers: int) -> dict[str, Any]:
    """Compiler options: ``registers`` per thread let more programs run at once; exact products have
    no limit.

    These come from the compiler's reports and are not timed yet.
    """
    exact = constants["PRECISION"] == "tf32x3"
    warps = max(constants["D"], constants["E"]) // 16
    return {"num_warps": warps, "num_stages": 3, "maxnreg": None if exact else registers}


def _forward(
    r: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, bonus: Tensor
) -> tuple[Tensor, Tensor]:
    y, last = _shapes(r, k, v, log_decay, bonus)
    B, L, H, _ = r.shape
    if y.numel() == 0 or r.numel() == 0:
        return y.zero_(), last.zero_()
    r, k, v = (rows_contiguous(x) for x in (r, k, v))
    constants = _constants(r, v)
    forward_kernel[(B * H,)](
        r, k, v, log_decay.contiguous(), bonus.contiguous(), y, last,
        *r.stride()[:3], *k.stride()[:3], *v.stride()[:3], L, H,
        **constants, **_options(constants, 128),
    )  # fmt: skip
    return y, last


def _shapes(
    r: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, bonus: Tensor
) -> tuple[Tensor, Tensor]:
    B, _, H, d = r.shape
    y = torch.empty(v.shape, dtype=torch.float32, device=v.device)
    return y, torch.empty(B, H, d, v.shape[-1], dtype=torch.float32, device=v.device)


@torch.library.custom_op("recall_bench::wkv_backward", mutates_args=())
def _backward(
    r: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    bonus: Tensor,
    dy: Tensor,
    d_last: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of r, k, v, and of log_decay and bonus together (2, H, d)."""
    dr, dk, dv, d_both = shapes = _backward_shapes(r, k, v, log_decay, bonus, dy, d_last)
    B, L, H, d = r.shape
    if r.numel() == 0 or v.numel() == 0:
        for x in shapes:
            x.zero_()
        return shapes
    r, k, v, dy = (rows_contiguous(x) for x in (r, k, v, dy))
    constants = _constants(r, v)
    M = max(16, constants["D"] // 2)  # the walk for dr holds a derivative beside its state
    parts = torch.empty(B, 2, H, d, dtype=torch.float32, device=r.device)
    backward_kernel[(B * H * (2 + constants["D"] // M),)](
        r, k, v, dy, log_decay.contiguous(), bonus.contiguous(),
        dy if d_last is None else d_last.contiguous(), dr, dk, dv, parts,
        *r.stride()[:3], *k.stride()[:3], *v.stride()[:3], *dy.stride()[:3], L, H,
        M=M, GIVEN=d_last is not None, **constants, **_options(constants, 168),
    )  # fmt: skip
    return dr, dk, dv, column_sum(parts.flatten(1)).view_as(d_both)


@_backward.register_fake
def _backward_shapes(
    r: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    bonus: Tensor,
    dy: Tensor,
    d_last: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dr, dk, dv = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (r, k, v))
    return dr, dk, dv, r.new_empty(2, *log_decay.shape, dtype=torch.float32)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, dy: Tensor | None, d_last: Tensor | None) -> tuple[Tensor | None, ...]:
    r, k, v, log_decay, bonus = ctx.saved_tensors
    dy = torch.zeros_like(v, dtype=torch.float32) if dy is None else dy
    dr, dk, dv, d_both = _backward(r, k, v, log_decay, bonus, dy, d_last)
    return dr, dk, dv, d_both[0].to(log_decay.dtype), d_both[1].to(bonus.dtype)


_wkv_op = torch.library.custom_op("recall_bench::wkv", _forward, mutates_args=())
_wkv_op.register_fake(_shapes)
_wkv_op.register_autograd(_differentiate, setup_context=_save)
_wkv = differentiable(_wkv_op, _forward, _save, _differentiate)
