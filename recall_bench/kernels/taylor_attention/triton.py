"""Linear attention with the second-order Taylor map in Triton: linear time, no serial loop.

A sequence is cut into spans. Inside a span the closed form 1 + s + s^2/2 acts on the scores, tile
by tile, as in softmax attention; queries reach earlier spans through S = sum f(k) v^T and
z = sum f(k). Three kernels, parallel over the whole sequence, compute sums within spans, a scan
over them, and the outputs; a sequence of one span needs only the last. The gradients take the same
steps backwards.

Dimensions: B batch, T length, H heads, d feature_dim padded to D, dv padded to V; tiles of C
tokens, R = NB RB feature rows of a state.
"""

import functools
from collections.abc import Callable
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
from recall_bench.kernels.taylor_attention.features import TaylorState, packed_size
from recall_bench.kernels.taylor_attention.triton_backward import backward_kernel
from recall_bench.kernels.taylor_attention.triton_features import padded, tables
from recall_bench.kernels.taylor_attention.triton_forward import forward_kernel
from recall_bench.kernels.taylor_attention.triton_state import scan_kernel, sum_kernel
from recall_bench.kernels.taylor_attention.triton_step import step_kernel

TILE = 64
"""Queries or keys of a tile."""
SPAN = 256
"""Tokens of a span. Longer ones score more pairs, shorter ones move more states."""
FEATURE_DIM_LIMIT = 32


def unavailable(op: str, tensor: Tensor) -> str | None:
    """The reason these kernels cannot run on a q like ``tensor``, or None."""
    if tensor.shape[-1] > FEATURE_DIM_LIMIT:
        return f"its feature dimension is at most {FEATURE_DIM_LIMIT}, not {tensor.shape[-1]}"
    return unavailable_for(tensor)


def taylor_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    initial_state: TaylorState | None = None,
    return_state: bool = False,
) -> Tensor | tuple[Tensor, TaylorState]:
    """See `recall_bench.kernels.taylor_attention.taylor_attention`."""
    value_dtype = v.dtype
    if not q.dtype == k.dtype == value_dtype:
        dtype = functools.reduce(torch.promote_types, (q.dtype, k.dtype, value_dtype))
        q, k, v = q.to(dtype), k.to(dtype), v.to(dtype)
    kv, z = initial_state if initial_state is not None else (None, None)
    y, _, _, _, kv, z = _attention(q, k, v, kv, z, return_state)
    y = y.to(value_dtype)
    return (y, TaylorState(kv, z)) if return_state else y


def taylor_attention_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    initial_state: TaylorState,
    return_state: bool = False,
) -> Tensor | tuple[Tensor, TaylorState]:
    """One token of `taylor_attention`."""
    if needs_gradient(q, k, v, *initial_state):
        return taylor_attention(q, k, v, initial_state, return_state)
    y, kv, z = _step(q[:, 0], k[:, 0], v[:, 0], *initial_state)
    return (y[:, None], TaylorState(kv, z)) if return_state else y[:, None]


def _width(dv: int) -> int:
    return max(16, triton.next_power_of_2(dv))


def _state_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of states, rounded like every operand of a product."""
    bfloat16 = dot_constants(dtype)["DTYPE"] == triton.language.bfloat16
    return torch.bfloat16 if bfloat16 else torch.float32


def _options(V: int, exact: bool, wide: bool, state: bool) -> dict[str, dict[str, int]]:
    """Each kernel's compiler options, as measured on an H200.

    ``exact`` products consist of three, ``wide`` ones have operands of 32 bits.
    """
    if exact:
        return {name: {"num_warps": 4, "num_stages": 1} for name in ("sum", "forward", "backward")}
    forward = {"num_warps": 4, "num_stages": 2}
    backward = {"num_warps": 4, "num_stages": 1}
    if state and not wide:
        forward = {"num_warps": 4, "num_stages": 3, "maxnreg": 128}
        backward = {"num_warps": 4, "num_stages": 3 if V <= 64 else 1, "maxnreg": 168}
    return {"sum": {"num_warps": 4, "num_stages": 2}, "forward": forward, "backward": backward}


class _Plan:
    """Sizes of one problem, and the launches of its kernels."""

    def __init__(
        self,
        shape: tuple[int, ...],
        dv: int,
        dtype: torch.dtype,
        device: torch.device,
        strides: tuple[int, ...],
        state: bool,
        span: int,
    ):
        self.B, self.T, self.H, self.d = shape
        self.dv, self.state, self.state_dtype = dv, state, _state_dtype(dtype)
        D, self.R, used = padded(self.d)
        self.V, part = _width(dv), min(64, _width(dv))
        self.spans = triton.cdiv(self.T, span)
        self.tables = tables(self.d, self.state_dtype, device)
        self.launch = Launches()

        sequences = self.B * self.H
        tiles = sequences * triton.cdiv(self.T, TILE)
        sums = sequences * self.spans * (self.V // part) * (self.R // 192)
        self.forward_grid, self.backward_grid, self.sum_grid = (tiles,), (2 * tiles,), (sums,)
        self.scan_grid = triton.cdiv(self.R * (self.V + 1), 128), sequences

        ends = self.T, self.H, span
        dy_strides = self.T * self.H * dv, self.H * dv, dv
        self.forward_sizes = *strides, *ends
        self.backward_sizes = *strides, *dy_strides, *ends
        self.key_sum_sizes = *strides[3:], *ends
        self.query_sum_sizes = *strides[:3], *dy_strides, *ends

        common = {"d": self.d, "dv": dv, "D": D, "V": self.V, "R": self.R, "C": TILE}
        common |= dot_constants(dtype)
        exact, wide = common["PRECISION"] == "tf32x3", self.state_dtype == torch.float32
        options = _options(self.V, exact, wide, state)
        self.forward = {**common, "USED": used, **options["forward"]}
        self.backward = {**common, "USED": used, **options["backward"]}
        self.sum = {**common, "VS": part, "G": 3, **options["sum"]}
        at_once = min(8, triton.next_power_of_2(self.spans))
        self.scan = {"V": self.V, "R": self.R, "K": at_once, "N": 128, "num_warps": 1}

    def states(
        self,
        x: Tensor,
        v: Tensor,
        initial: Tensor | None,
        queries: tuple[Tensor, Tensor, Tensor] | None = None,
        *,
        total: bool,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The weighted state before each span, and with ``total`` the raw one after the last.

        S (B H, spans, R, V) in the dtype of products, z (B H, spans, R); raw (B H, R (V + 1)). With
        ``queries`` = (y, inverse, delta), the sums over queries after each span, which write delta.
        """
        slots, backward = (self.B * self.H, self.spans), queries is not None
        sums = x.new_empty(*slots, self.R * (self.V + 1), dtype=torch.float32)
        self.launch(
            sum_kernel,
            self.sum_grid,
            (x, v, *(queries or (x, x, x)), self.tables.picks, sums),
            self.query_sum_sizes if backward else self.key_sum_sizes,
            self.sum,
            BACKWARD=backward,
        )
        S = sums.new_empty(*slots, self.R, self.V, dtype=self.state_dtype)
        z = sums.new_empty(*slots, self.R)
        last = sums.new_empty(slots[0], self.R * (self.V + 1)) if total else None
        first, weights = sums if initial is None else initial, self.tables.squared_weights
        self.launch(
            scan_kernel,
            self.scan_grid,
            (sums, first, weights, S, z, sums if last is None else last),
            (self.spans,),
            self.scan,
            REVERSE=backward,
            INITIAL=initial is not None,
            LAST=total,
        )
        return S, z, last

    def pack(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Raw state -> (B, H, P, dv), (B, H, P)."""
        rows, w = self.tables.rows, self.tables.weights
        S, z = raw[:, : -self.R].unflatten(1, (self.R, self.V)), raw[:, -self.R :]
        shape = self.B, self.H, len(rows)
        kv = S[:, rows, : self.dv] * w[:, None]
        return kv.view(*shape, self.dv), (z[:, rows] * w).view(shape)

    def unpack(self, kv: Tensor, z: Tensor) -> Tensor:
        """(B, H, P, dv), (B, H, P) -> raw state."""
        rows, w = self.tables.rows, self.tables.weights
        raw = kv.new_zeros(self.B * self.H, self.R * (self.V + 1), dtype=torch.float32)
        S = raw[:, : -self.R].unflatten(1, (self.R, self.V))
        S[:, rows, : self.dv] = kv.float().flatten(0, 1) / w[:, None]
        raw[:, rows + self.R * self.V] = z.float().flatten(0, 1) / w
        return raw


@functools.lru_cache(maxsize=256)
def _cached_plan(precision: str, *key: Any) -> _Plan:
    return _Plan(*key)


def _plan(q: Tensor, k: Tensor, v: Tensor, state: bool) -> _Plan:
    """The plan for tensors of this layout, at the current matmul precision."""
    strides = *q.stride()[:3], *k.stride()[:3], *v.stride()[:3]
    precision = torch.get_float32_matmul_precision()
    return _cached_plan(precision, q.shape, v.shape[-1], q.dtype, q.device, strides, state, SPAN)


def _forward(
    q: Tensor, k: Tensor, v: Tensor, kv: Tensor | None, z: Tensor | None, return_state: bool
) -> tuple[Tensor | None, ...]:
    """y, 1 / the denominators (B, H, T up to a full tile), states before each span, the last state.

    Results that are not needed are None.
    """
    B, T, H, _ = q.shape
    y = torch.empty(v.shape, dtype=v.dtype, device=v.device)
    inverse = torch.empty((B, H, -(-T // TILE) * TILE), dtype=torch.float32, device=v.device)
    if y.numel() == 0:
        nothing = None, None
        return y, inverse, *nothing, *(_handed_through(q, v, kv, z) if return_state else nothing)
    q, k, v = rows_contiguous(q), rows_contiguous(k), rows_contiguous(v)
    plan = _plan(q, k, v, _needs_state(T, kv, return_state))
    S = S_z = last_kv = last_z = None
    initial = plan.unpack(kv, z) if kv is not None and z is not None else None
    if plan.state:
        S, S_z, last = plan.states(k, v, initial, total=return_state)
        if last is not None:
            last_kv, last_z = plan.pack(last)
    before = (
        (q, inverse) if S is None or S_z is None else (S, S_z)
    )  # placeholders; not read without a state
    plan.launch(
        forward_kernel,
        plan.forward_grid,
        (q, k, v, *before, plan.tables.picks, y, inverse),
        plan.forward_sizes,
        plan.forward,
        STATE=plan.state,
        INITIAL=initial is not None,
    )
    return y, inverse, S, S_z, last_kv, last_z


def _needs_state(T: int, kv: Tensor | None, return_state: bool) -> bool:
    return T > SPAN or kv is not None or return_state


def _handed_through(
    q: Tensor, v: Tensor, kv: Tensor | None, z: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The state after inputs without a token, sequence or value."""
    if kv is not None and z is not None:
        return kv.float().clone(), z.float().clone()
    empty = q.new_zeros(q.shape[0], q.shape[2], packed_size(q.shape[3]), dtype=torch.float32)
    return empty[..., None].repeat(1, 1, 1, v.shape[3]), empty


def _backward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    kv: Tensor | None,
    z: Tensor | None,
    y: Tensor,
    inverse: Tensor,
    S: Tensor | None,
    S_z: Tensor | None,
    dy: Tensor,
    d_last_kv: Tensor | None,
    d_last_z: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    """dq, dk, dv, and the gradients of the initial state, None without one."""
    dq, dk, dvalue = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
    if y.numel() == 0:
        for gradient in (dq, dk, dvalue):
            gradient.zero_()
        if kv is None or z is None:
            return dq, dk, dvalue, None, None
        if d_last_kv is None or d_last_z is None:
            return dq, dk, dvalue, torch.zeros_like(kv), torch.zeros_like(z)
        return dq, dk, dvalue, d_last_kv.to(kv.dtype, copy=True), d_last_z.to(z.dtype, copy=True)
    q, k, v, dy = rows_contiguous(q), rows_contiguous(k), rows_contiguous(v), dy.contiguous()
    plan = _plan(q, k, v, S is not None)
    U, u, first, delta = q, inverse, None, inverse  # placeholders; not read without a state
    if S is None or S_z is None:
        S, S_z = q, inverse
    else:
        final = None
        if d_last_kv is not None and d_last_z is not None:
            final = plan.unpack(d_last_kv, -d_last_z)
        delta = torch.empty_like(inverse)
        U, u, first = plan.states(q, dy, final, (y, inverse, delta), total=kv is not None)
    plan.launch(
        backward_kernel,
        plan.backward_grid,
        (q, k, v, S, S_z, plan.tables.picks, y, inverse, dy, delta, U, u, dq, dk, dvalue),
        plan.backward_sizes,
        plan.backward,
        STATE=plan.state,
    )
    if first is None or kv is None or z is None:
        return dq, dk, dvalue, None, None
    dkv, dz = plan.pack(first)
    return dq, dk, dvalue, dkv.to(kv.dtype), -dz.to(z.dtype)


@torch.library.custom_op("recall_bench::taylor_attention", mutates_args=())
def _attention_op(
    q: Tensor, k: Tensor, v: Tensor, kv: Tensor | None, z: Tensor | None, return_state: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """`_forward` for torch.compile: results that are not needed are empty."""
    outputs = on_own_device(_forward)(q, k, v, kv, z, return_state)
    y, inverse, S, S_z, last_kv, last_z = (q.new_empty(0) if x is None else x for x in outputs)
    return y, inverse, S, S_z, last_kv, last_z


@_attention_op.register_fake
def _attention_shapes(
    q: Tensor, k: Tensor, v: Tensor, kv: Tensor | None, z: Tensor | None, return_state: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    B, T, H, d = q.shape
    y = torch.empty(v.shape, dtype=v.dtype, device=v.device)
    inverse = q.new_empty(B, H, -(-T // TILE) * TILE, dtype=torch.float32)
    S, S_z, last_kv, last_z = (q.new_empty(0) for _ in range(4))
    if v.numel() > 0 and _needs_state(T, kv, return_state):
        before, (_, R, _) = (B * H, -(-T // SPAN)), padded(d)
        S = q.new_empty(*before, R, _width(v.shape[3]), dtype=_state_dtype(q.dtype))
        S_z = inverse.new_empty(*before, R)
    if return_state:
        last_kv = inverse.new_empty(B, H, packed_size(d), v.shape[3])
        last_z = inverse.new_empty(B, H, packed_size(d))
    return y, inverse, S, S_z, last_kv, last_z


@torch.library.custom_op("recall_bench::taylor_attention_backward", mutates_args=())
def _backward_op(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    kv: Tensor | None,
    z: Tensor | None,
    y: Tensor,
    inverse: Tensor,
    S: Tensor,
    S_z: Tensor,
    dy: Tensor,
    d_last_kv: Tensor | None,
    d_last_z: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """`_backward` for torch.compile: results that are not needed are empty."""
    before = None if S.numel() == 0 else S
    gradients = _backward(q, k, v, kv, z, y, inverse, before, S_z, dy, d_last_kv, d_last_z)
    dq, dk, dvalue, dkv, dz = (q.new_empty(0) if x is None else x for x in gradients)
    return dq, dk, dvalue, dkv, dz


@_backward_op.register_fake
def _(
    q: Tensor, k: Tensor, v: Tensor, kv: Tensor | None, z: Tensor | None, *_: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    dq, dk, dvalue = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
    dkv, dz = (q.new_empty(0) if x is None else torch.empty_like(x) for x in (kv, z))
    return dq, dk, dvalue, dkv, dz


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor | None, ...]) -> None:
    ctx.save_for_backward(*inputs[:5], *output[:4])


def _differentiate(backward: Callable[..., Any]) -> Callable[..., tuple[Tensor | None, ...]]:
    """The autograd formula that calls ``backward``, which is `_backward` or its operator."""

    def gradients(
        ctx: Any,
        dy: Tensor | None,
        _1: Any,
        _2: Any,
        _3: Any,
        d_last_kv: Tensor | None,
        d_last_z: Tensor | None,
    ) -> tuple[Tensor | None, ...]:
        q, k, v, kv, z, y, *saved = ctx.saved_tensors
        dy = torch.zeros_like(y) if dy is None else dy
        last = [None if x is None or x.numel() == 0 else x for x in (d_last_kv, d_last_z)]
        if last != [None, None]:
            P = packed_size(q.shape[-1])
            shape = q.shape[0], q.shape[2], P
            last[0] = saved[0].new_zeros(*shape, v.shape[-1]) if last[0] is None else last[0]
            last[1] = saved[0].new_zeros(shape) if last[1] is None else last[1]
        dq, dk, dvalue, dkv, dz = backward(q, k, v, kv, z, y, *saved, dy, *last)
        return dq, dk, dvalue, *((None, None) if kv is None else (dkv, dz)), None

    return gradients


_attention_op.register_autograd(_differentiate(_backward_op), setup_context=_save)
_attention = differentiable(_attention_op, _forward, _save, _differentiate(_backward))


@torch.library.custom_op("recall_bench::taylor_attention_step", mutates_args=())
@on_own_device
def _step(q: Tensor, k: Tensor, v: Tensor, kv: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """y and the new state (B, H, P, dv), (B, H, P)."""
    q, k, v = (rows_contiguous(x) for x in (q, k, v))
    kv, z = kv.float().contiguous(), z.float().contiguous()
    y, new_kv, new_z = _step_shapes(q, k, v, kv, z)
    B, H, P, dv = kv.shape
    if y.numel() > 0:
        step_kernel[(B * H,)](
            q, k, v, y, kv, z, new_kv, new_z,
            *q.stride()[:2], *k.stride()[:2], *v.stride()[:2], H,
            d=q.shape[-1], dv=dv, P=P, V=triton.next_power_of_2(dv), R=32, num_warps=4,
        )  # fmt: skip
    return y, new_kv, new_z


@_step.register_fake
def _step_shapes(
    q: Tensor, k: Tensor, v: Tensor, kv: Tensor, z: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    y = torch.empty(v.shape, dtype=v.dtype, device=v.device)
    new_kv = torch.empty(kv.shape, dtype=torch.float32, device=v.device)
    return y, new_kv, torch.empty(z.shape, dtype=torch.float32, device=v.device)
