"""The selective scan on a GPU: launches the kernels, forward, backward and step.

The forward pass keeps the state once every few chunks; the backward pass goes through the chunks in
reverse and recomputes each. It uses no atomic additions, so that results repeat exactly.
"""

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from recall_bench.kernels.plumbing.triton_sums import column_sum, sum_parts
from recall_bench.kernels.plumbing.triton_support import (
    differentiable,
    needs_gradient,
    rows_contiguous,
    unavailable_for,
)
from recall_bench.kernels.selective_scan import reference
from recall_bench.kernels.selective_scan.triton_backward import backward_kernel
from recall_bench.kernels.selective_scan.triton_forward import forward_kernel
from recall_bench.kernels.selective_scan.triton_step import step_kernel

STATE_LIMIT = 256
"""Larger states run on the reference."""


class Tile(NamedTuple):
    """The shape of a tile, see `triton_tile`."""

    T: int
    S: int
    J: int
    V: int
    P: int
    Q: int

    @property
    def channels(self) -> int:
        return self.J * self.V * self.Q

    @property
    def stages(self) -> int:
        """Chunks in flight. In wide tiles the compiler prefetches for threads, not for tiles, so
        that every thread repeats the arithmetic, which costs more than prefetching saves."""
        return 3 if self.J * self.Q <= 16 else 1


class Pass(NamedTuple):
    """Settings of a pass: tokens of a chunk, warps of a program, and the most registers of a
    thread (None for no limit). Fewer registers leave room for more warps, but may spill."""

    tokens: int
    warps: int
    registers: int | None = None


FORWARD, BACKWARD = Pass(4, 1), Pass(4, 1)
SPAN = 8
"""Tokens from one saved state to the next, a multiple of both passes' chunks."""

ELEMENTS = 8  # per thread and token
FORWARD_HALVES, BACKWARD_HALVES = True, True


def tile_of(n_state: int, run: Pass) -> Tile:
    """Eight elements per thread, states over at least four threads; more if N is larger."""
    N = triton.next_power_of_2(n_state)
    P = min(32, N, max(4, N // ELEMENTS))
    return Tile(run.tokens, N // P, max(1, ELEMENTS * P // N), run.warps, P, 32 // P)


def unavailable(op: str, tensor: Tensor) -> str | None:
    """The reason these kernels cannot run on a u like ``tensor``, or None."""
    return unavailable_for(tensor)


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
    if A.shape[1] > STATE_LIMIT:
        return reference.selective_scan(
            u, delta, A, B, C, D, z, delta_bias, delta_softplus, initial_state, return_state
        )
    B, C = _aligned(B), _aligned(C)
    inputs = (u, delta, A, B, C, D, z, delta_bias, initial_state)
    y, state, _ = _scan(*inputs, delta_softplus, needs_gradient(*inputs))
    return (y, state) if return_state else y


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
    """One token of `selective_scan`; gradients and large states run on the reference."""
    inputs = (u, delta, A, B, C, D, z, delta_bias)
    if A.shape[1] > STATE_LIMIT or needs_gradient(*inputs, initial_state):
        return reference.selective_scan_step(
            *inputs, delta_softplus, initial_state=initial_state, return_state=return_state
        )
    u, delta, B, C = (x[:, 0] for x in (u, delta, B, C))
    z = None if z is None else z[:, 0]
    y, state = _step(u, delta, A, B, C, D, z, delta_bias, delta_softplus, initial_state)
    return (y[:, None], state) if return_state else y[:, None]


def _aligned(x: Tensor) -> Tensor:
    """x itself if Triton sees that its rows are aligned, else a copy. B and C are small, and
    often slices of one projection, whose rows the kernels could not prefetch."""
    return x if x.stride(-1) == 1 and x.stride(1) % 16 == 0 else x.contiguous()


def _flags(D: Tensor | None, z: Tensor | None, bias: Tensor | None, softplus: bool) -> Any:
    return {
        "SKIP": D is not None,
        "GATE": z is not None,
        "BIAS": bias is not None,
        "SOFTPLUS": softplus,
    }


def _strides(*tensors: Tensor | None) -> list[int]:
    """Strides of the leading dimensions of (batch, [length,] channels) tensors, 0 for None."""
    rank = max(x.dim() for x in tensors if x is not None)
    return [s for x in tensors for s in (x.stride()[:-1] if x is not None else (0,) * (rank - 1))]


def _whole(u: Tensor, n_state: int, tile: Tile, tokens: int) -> bool:
    return not (u.shape[1] % tokens or u.shape[2] % tile.channels or n_state != tile.S * tile.P)


def _forward(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    initial_state: Tensor | None,
    delta_softplus: bool,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """y, the last state, and with ``keep`` the states at the chunks' starts."""
    y, state, starts = _scan_shapes(
        u, delta, A, B, C, D, z, delta_bias, initial_state, delta_softplus, keep
    )
    if y.numel() == 0:
        state.zero_() if initial_state is None else state.copy_(initial_state)
        return y, state, starts
    u, delta, B, C = (rows_contiguous(x) for x in (u, delta, B, C))
    z = None if z is None else rows_contiguous(z)
    h0 = None if initial_state is None else initial_state.float().contiguous()
    tile = tile_of(A.shape[1], FORWARD)
    chunks = triton.cdiv(u.shape[1], tile.T)
    forward_kernel[u.shape[0], triton.cdiv(u.shape[2], tile.channels)](
        u, delta, A.contiguous(), B, C, D, u if z is None else z, delta_bias, h0, y, state, starts,
        *_strides(u, delta, B, C, z), u.shape[1], u.shape[2], A.shape[1], chunks, 0,
        **_flags(D, z, delta_bias, delta_softplus), INITIAL=h0 is not None,
        EVERY=SPAN // tile.T if keep else 0, WHOLE=_whole(u, A.shape[1], tile, tile.T),
        HALVES=FORWARD_HALVES, STAGES=tile.stages, **tile._asdict(), num_warps=tile.V,
        maxnreg=FORWARD.registers,
    )  # fmt: skip
    return y, state, starts


def _scan_shapes(*inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The uninitialised results of `_forward`."""
    u, _, A, *_, keep = inputs
    batch, length, width = u.shape
    tile = tile_of(A.shape[1], Pass(SPAN, 1))
    spans = -(-length // SPAN) if keep else 0
    held = -(-width // tile.channels) * tile.channels * tile.S * tile.P
    y = torch.empty(u.shape, dtype=u.dtype, device=u.device)
    state = u.new_empty(batch, *A.shape, dtype=torch.float32)
    dtype = torch.bfloat16 if u.dtype == torch.bfloat16 else torch.float32
    return y, state, u.new_empty(batch, spans, held, dtype=dtype)


@torch.library.custom_op("recall_bench::selective_scan_backward", mutates_args=())
def _scan_backward(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    has_initial: bool,
    starts: Tensor,
    dy: Tensor,
    dh_last: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of u, delta, z, A, B and C together (2, batch, L, N), and the initial state (empty
    for a missing z or initial state), and parts of those of D and the bias (batch, 2, W)."""
    shapes = _scan_backward_shapes(
        u, delta, A, B, C, D, z, delta_bias, delta_softplus, has_initial, starts, dy, dh_last
    )
    du, d_delta, dz, dA, dBC, dh0, parts_D_bias = shapes
    if u.numel() == 0:
        for x in shapes:
            x.zero_()
        if has_initial and dh_last is not None:
            dh0.copy_(dh_last)
        return shapes
    tile = tile_of(A.shape[1], BACKWARD)
    batch, length, width = u.shape
    blocks = triton.cdiv(width, tile.channels)
    f32: dict[str, Any] = {"dtype": torch.float32, "device": u.device}
    parts_A = torch.empty(batch, *A.shape, **f32)
    narrow = torch.bfloat16 if B.dtype == torch.bfloat16 else torch.float32
    parts_BC = torch.empty(2, blocks, *B.shape, dtype=narrow, device=u.device)
    u, delta, B, C, dy = (rows_contiguous(x) for x in (u, delta, B, C, dy))
    z = None if z is None else rows_contiguous(z)
    backward_kernel[batch, blocks](
        u, delta, A.contiguous(), B, C, D, u if z is None else z, delta_bias, starts, dy,
        None if dh_last is None else dh_last.contiguous(),
        du, d_delta, dz, parts_A, parts_BC, parts_D_bias, dh0,
        *_strides(u, delta, B, C, z, dy), length, width, A.shape[1],
        triton.cdiv(length, SPAN), 0, **_flags(D, z, delta_bias, delta_softplus),
        INITIAL=has_initial, FINAL=dh_last is not None, WHOLE=_whole(u, A.shape[1], tile, SPAN),
        HALVES=BACKWARD_HALVES, STAGES=tile.stages, SPAN=SPAN // tile.T, **tile._asdict(),
        num_warps=tile.V, maxnreg=BACKWARD.registers,
    )  # fmt: skip
    sum_parts(parts_BC, dBC)
    dA = column_sum(parts_A.flatten(1)).view_as(A)
    return du, d_delta, dz, dA, dBC, dh0, parts_D_bias


@_scan_backward.register_fake
def _scan_backward_shapes(*inputs: Any) -> tuple[Tensor, ...]:
    """The uninitialised results of `_scan_backward`."""
    u, delta, A, B, _, _, z, _, _, has_initial, *_ = inputs

    def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=u.device)

    initial = (u.shape[0], *A.shape) if has_initial else (0,)
    return (
        empty(*u.shape, dtype=u.dtype),
        empty(*u.shape, dtype=delta.dtype),
        empty(0) if z is None else empty(*u.shape, dtype=z.dtype),
        empty(*A.shape),
        empty(2, *B.shape, dtype=B.dtype),
        empty(*initial),
        empty(u.shape[0], 2, u.shape[2]),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.softplus, _ = inputs
    ctx.has_initial = tensors[8] is not None
    ctx.save_for_backward(*tensors[:8], output[2])


def _differentiate(
    ctx: Any, dy: Tensor | None, dh: Tensor | None, _: Any
) -> tuple[Tensor | None, ...]:
    *tensors, starts = ctx.saved_tensors
    u, _, A, _, C, D, z, bias = tensors
    dy = torch.zeros_like(u) if dy is None else dy
    du, d_delta, dz, dA, dBC, dh0, parts = _scan_backward(
        *tensors, ctx.softplus, ctx.has_initial, starts, dy, dh
    )

    d_D, d_bias = column_sum(parts.flatten(1)).chunk(2)
    return (
        du,
        d_delta,
        dA.to(A.dtype),
        dBC[0],
        dBC[1].to(C.dtype),
        None if D is None else d_D.to(D.dtype),
        None if z is None else dz,
        None if bias is None else d_bias.to(bias.dtype),
        dh0 if ctx.has_initial else None,
        None,
        None,
    )


_scan_op = torch.library.custom_op("recall_bench::selective_scan", _forward, mutates_args=())
_scan_op.register_fake(_scan_shapes)
_scan_op.register_autograd(_differentiate, setup_context=_save)
_scan = differentiable(_scan_op, _forward, _save, _differentiate)


@torch.library.custom_op("recall_bench::selective_scan_step", mutates_args=())
def _step(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    state: Tensor,
) -> tuple[Tensor, Tensor]:
    y, new = _step_shapes(u, delta, A, B, C, D, z, delta_bias, delta_softplus, state)
    if y.numel() == 0:
        return y, new
    u, delta, B, C = (rows_contiguous(x) for x in (u, delta, B, C))
    z = None if z is None else rows_contiguous(z)
    N = triton.next_power_of_2(A.shape[1])
    channels = max(1, 1024 // N)
    step_kernel[u.shape[0], triton.cdiv(u.shape[1], channels)](
        u, delta, A.contiguous(), B, C, D, z, delta_bias, state.float().contiguous(), y, new,
        *_strides(u, delta, B, C, z), u.shape[1], A.shape[1],
        **_flags(D, z, delta_bias, delta_softplus), C_TILE=channels, N=N, num_warps=4,
    )  # fmt: skip
    return y, new


@_step.register_fake
def _step_shapes(*inputs: Any) -> tuple[Tensor, Tensor]:
    u, *_, state = inputs
    return u.new_empty(u.shape), u.new_empty(state.shape, dtype=torch.float32)
