"""The labelled cross-entropy in Triton: attention whose keys and values are the vocabulary.

Dimensions: N rows, D width, V vocabulary; tiles of M rows, T tokens and C columns of D (CHUNKS
times C >= D). x = hidden . weight are the logits, p = softmax(x). The forward pass is that of
attention (Dao et al., arXiv 2205.14135, algorithm 1): beside the log-sum-exp it sums p . weight,
which less the target's row is the gradient of ``hidden``. A second pass recomputes p for the
gradient of ``weight``. If few rows would leave the device idle, the forward pass splits the
vocabulary and the second one the rows; the parts are summed in a fixed order.

The products take 16-bit copies of both inputs, padded to whole tiles. With TF32 allowed they
are float16, which has the same 10 bits of mantissa at twice the speed, and a power of two brings
each tensor into its range.
"""

import functools
from typing import Any, NamedTuple, TypeAlias

import torch
import triton
from torch import Tensor

from recall_bench.kernels.labelled_cross_entropy.reference import IGNORE
from recall_bench.kernels.labelled_cross_entropy.triton_backward import (
    finish_kernel,
    hidden_kernel,
    weight_kernel,
)
from recall_bench.kernels.labelled_cross_entropy.triton_forward import (
    PARTS,
    combine_kernel,
    forward_kernel,
    largest_kernel,
    mean_kernel,
    prepare_kernel,
)
from recall_bench.kernels.plumbing.dispatch import constant_to_compiler
from recall_bench.kernels.plumbing.side import aside
from recall_bench.kernels.plumbing.triton_support import (
    differentiable,
    interpreted,
    on_own_device,
    unavailable_for,
)

Results: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]

WIDTH_LIMIT = 1024
LIFT = 12
"""Probabilities are multiplied by 2^LIFT before they become float16, lest 1 / V underflow."""
PADDING = 128
"""The padded copies' rows are a multiple of this, the largest tile."""


def unavailable(op: str, tensor: Tensor) -> str | None:
    """The reason these kernels cannot run on a hidden like ``tensor``, or None."""
    if tensor.shape[-1] > WIDTH_LIMIT:
        return f"its width is at most {WIDTH_LIMIT}, not {tensor.shape[-1]}"
    return unavailable_for(tensor)


def labelled_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """See `recall_bench.kernels.labelled_cross_entropy.labelled_cross_entropy`."""
    loss, *_ = _mean_loss(hidden, weight, targets, _precision(hidden, weight))
    return loss


def labelled_losses(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """See `recall_bench.kernels.labelled_cross_entropy.labelled_losses`."""
    return _row_losses(hidden, weight, targets, _precision(hidden, weight))


def _precision(hidden: Tensor, weight: Tensor) -> str:
    """The precision of the products: "bfloat16", "float16", "tf32" or "float32"."""
    if torch.is_autocast_enabled(hidden.device.type):
        dtype = torch.get_autocast_dtype(hidden.device.type)
    else:
        dtype = torch.promote_types(hidden.dtype, weight.dtype)
    return "tf32" if dtype == torch.float32 and _tf32() else str(dtype).removeprefix("torch.")


@constant_to_compiler  # the compiler cannot trace it, but guards the values it reads
def _tf32() -> bool:
    return torch.get_float32_matmul_precision() != "highest"


class _Plan(NamedTuple):
    """Tile sizes of one pass, and the number of its programs that share a multiprocessor."""

    held: int
    streamed: int
    num_warps: int
    num_stages: int
    resident: int


def _plan(precision: str, C: int, CHUNKS: int, weight_pass: bool) -> _Plan:
    """The quickest of those measured on an H200, at 1024 … 16384 rows of a vocabulary of 8192."""
    if precision == "float32":
        return _Plan(64, 32 if C == 128 else 64, 8, 2, 1)
    if CHUNKS > 1:
        return _Plan(64, 64, 8, 2, 1)
    if C <= 64:
        return _Plan(64, 128, 4, 3, 3 if weight_pass else 2)
    return _Plan(64, 128, 4, 2, 2 if C == 128 else 1)


def _copy_dtype(precision: str) -> torch.dtype:
    """The dtype of the products' copies. Triton's interpreter has no bfloat16."""
    if precision == "bfloat16" and not interpreted():
        return torch.bfloat16
    return torch.float16 if precision in ("float16", "tf32") else torch.float32


def _columns(D: int, precision: str) -> tuple[int, int]:
    """(C, CHUNKS): the width is padded to C * CHUNKS, a power of two."""
    padded = max(16, triton.next_power_of_2(D))
    limit = 256
    if precision == "float32":
        limit = 128 if padded <= 128 else 64
    C = min(padded, limit)
    return C, padded // C


@functools.cache
def _multiprocessors(device: torch.device) -> int:
    if device.type != "cuda":
        return 132
    return torch.cuda.get_device_properties(device).multi_processor_count


def _splits(tiles: int, steps: int, slots: int) -> int:
    """The number of parts that each of ``tiles`` programs of ``steps`` is split into.

    ``slots`` programs run at once, and each costs one step more than its share. The result is the
    fewest parts that take at most a tenth longer than the shortest time.
    """
    parts = range(1, min(steps, slots) + 1)
    times = [triton.cdiv(tiles * s, slots) * (triton.cdiv(steps, s) + 1) for s in parts]
    return next(s for s, time in zip(parts, times, strict=True) if time <= 1.1 * min(times))


def _padded(rows: int) -> int:
    return triton.cdiv(rows, PADDING) * PADDING


def _copies(hidden: Tensor, weight: Tensor, precision: str) -> tuple[Tensor, Tensor, Tensor]:
    """The products' inputs: copies of hidden and weight, and the units of their elements."""
    h, w, unit = _copies_shapes(hidden, weight, precision)
    (N, D), V, DP = hidden.shape, weight.shape[0], h.shape[1]
    strides = (*hidden.stride(), *weight.stride())
    constants = {"ROWS": min(64, 4096 // DP), "DP": DP, "num_warps": 4}
    largest = None
    if precision == "tf32":
        largest = hidden.new_empty(2 * PARTS.value, dtype=torch.float32)
        largest_kernel[(2 * PARTS.value,)](
            hidden, weight, largest, *strides, N, V, D,
            ROWS=min(64, 16384 // DP), DP=DP, num_warps=8,
        )  # fmt: skip
    tiles = len(h) // constants["ROWS"]
    prepare_kernel[(tiles + len(w) // constants["ROWS"],)](
        hidden, weight, largest, h, w, unit, *strides, N, V, D, tiles,
        SCALED=largest is not None, **constants,
    )  # fmt: skip
    return h, w, unit


def _copies_shapes(hidden: Tensor, weight: Tensor, precision: str) -> tuple[Tensor, Tensor, Tensor]:
    C, CHUNKS = _columns(hidden.shape[1], precision)
    dtype = _copy_dtype(precision)
    h, w = (hidden.new_empty(_padded(len(x)), C * CHUNKS, dtype=dtype) for x in (hidden, weight))
    return h, w, hidden.new_empty(2, dtype=torch.float32)


class _Parts(NamedTuple):
    """The results of `forward_kernel` for each (split, row)."""

    largest: Tensor
    total: Tensor
    best: Tensor | None
    mixture: Tensor | None


def _attend(
    h: Tensor, w: Tensor, unit: Tensor, N: int, V: int, D: int, precision: str, gradient: bool
) -> _Parts:
    C, CHUNKS = _columns(D, precision)
    plan = _plan(precision, C, CHUNKS, False)
    tiles, steps = triton.cdiv(N, plan.held), triton.cdiv(V, plan.streamed)
    chunks = CHUNKS if gradient else 1
    slots = _multiprocessors(h.device) * plan.resident
    per_split = triton.cdiv(steps, _splits(tiles * chunks, steps, slots))
    splits = triton.cdiv(steps, per_split)
    largest, total = unit.new_empty(2, splits, N)
    best = mixture = None
    if gradient:
        mixture = unit.new_empty(splits, N, C * CHUNKS)
    else:
        best = unit.new_empty(splits, N, dtype=torch.int32)
    forward_kernel[tiles, splits, chunks](
        h, w, unit, largest, total, best, mixture, N, V, per_split,
        M=plan.held, T=plan.streamed, C=C, CHUNKS=CHUNKS, EVEN=V % plan.streamed == 0,
        GRADIENT=gradient,
        PRECISION=_dot_precision(precision), num_warps=plan.num_warps, num_stages=plan.num_stages,
    )  # fmt: skip
    return _Parts(largest, total, best, mixture)


def _forward(hidden: Tensor, weight: Tensor, targets: Tensor, precision: str) -> Results:
    outputs = loss, lse, answers, slope, share, *_ = _mean_loss_shapes(
        hidden, weight, targets, precision
    )
    (N, D), V = hidden.shape, weight.shape[0]
    if N == 0:
        loss.zero_()
        return outputs
    h, w, unit = _copies(hidden, weight, precision)
    parts = _attend(h, w, unit, N, V, D, precision, True)
    rows = _rows(h.shape[1])
    programs = len(h) // rows
    sums = unit.new_empty(2, programs)
    combine_kernel[(programs,)](
        h, w, unit, targets, targets.stride(0), *parts,
        None, None, lse, answers, slope, sums, N, len(parts.largest), D,
        M=rows, DP=h.shape[1], GRADIENT=True, IGNORED=IGNORE, num_warps=4,
    )  # fmt: skip
    mean_kernel[(1,)](sums, loss, share, programs, SIZE=1024, num_warps=8)
    return loss, lse, answers, slope, share, h, w, unit


def _rows(width: int) -> int:
    """The number of rows in a tile of this width, for the kernels that only move data."""
    return max(1, 1024 // width)


def _dot_precision(precision: str) -> str:
    return "tf32x3" if precision == "float32" else "tf32"


def _mean_loss_shapes(hidden: Tensor, weight: Tensor, targets: Tensor, precision: str) -> Results:
    """The loss (), and the tensors that the backward pass needs.

    They are the log-sum-exp (N',) and the targets (N',), the gradient of hidden (N, D) before the
    mean, the share of a row in the mean (1,), the copies of hidden (N', D') and of weight (V', D'),
    and the units of their elements (2,).
    """
    h, w, unit = _copies_shapes(hidden, weight, precision)
    lse, answers = unit.new_empty(len(h)), unit.new_empty(len(h), dtype=torch.int32)
    slope = unit.new_empty(hidden.shape)
    return unit.new_empty(()), lse, answers, slope, unit.new_empty(1), h, w, unit


@torch.library.custom_op("recall_bench::labelled_cross_entropy_hidden", mutates_args=())
def _hidden_gradient(hidden: Tensor, slope: Tensor, share: Tensor, d_loss: Tensor) -> Tensor:
    d_hidden = _hidden_gradient_shape(hidden)
    N, D = hidden.shape
    if N > 0:
        width = triton.next_power_of_2(D)
        rows = _rows(width)
        hidden_kernel[(triton.cdiv(N, rows),)](
            slope, share, d_loss, d_hidden, N, D, ROWS=rows, DP=width, num_warps=4
        )
    return d_hidden


@_hidden_gradient.register_fake
def _hidden_gradient_shape(hidden: Tensor, *others: Tensor) -> Tensor:
    return hidden.new_empty(hidden.shape)


@torch.library.custom_op("recall_bench::labelled_cross_entropy_weight", mutates_args=())
def _weight_gradient(
    hidden: Tensor, weight: Tensor, lse: Tensor, answers: Tensor, share: Tensor,
    h: Tensor, w: Tensor, unit: Tensor, d_loss: Tensor, precision: str,
) -> Tensor:  # fmt: skip
    d_weight = _weight_gradient_shape(hidden, weight)
    (N, D), V = hidden.shape, weight.shape[0]
    if N == 0:
        return d_weight.zero_()
    C, CHUNKS = _columns(D, precision)
    plan = _plan(precision, C, CHUNKS, True)
    tiles, steps = triton.cdiv(V, plan.held), triton.cdiv(N, plan.streamed)
    slots = _multiprocessors(h.device) * plan.resident
    per_split = triton.cdiv(steps, _splits(tiles * CHUNKS, steps, slots))
    splits = triton.cdiv(steps, per_split)
    partial = unit.new_empty(splits, V, C * CHUNKS)
    lift = LIFT if h.dtype == torch.float16 else 0
    weight_kernel[tiles, splits, CHUNKS](
        h, w, unit, answers, lse, partial, N, V, per_split,
        M=plan.streamed, T=plan.held, C=C, CHUNKS=CHUNKS, RAISE=lift,
        PRECISION=_dot_precision(precision), num_warps=plan.num_warps, num_stages=plan.num_stages,
    )  # fmt: skip
    rows = _rows(h.shape[1])
    finish_kernel[(triton.cdiv(V, rows),)](
        partial, unit, share, d_loss, d_weight, V, D, splits,
        RAISE=lift, ROWS=rows, DP=C * CHUNKS, num_warps=4,
    )  # fmt: skip
    return d_weight


@_weight_gradient.register_fake
def _weight_gradient_shape(hidden: Tensor, weight: Tensor, *others: Any) -> Tensor:
    return weight.new_empty(weight.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Results) -> None:
    hidden, weight, _, ctx.precision = inputs
    ctx.save_for_backward(hidden, weight, *output[1:])


def _differentiate(ctx: Any, d_loss: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    hidden, weight, lse, answers, slope, share, *copies = ctx.saved_tensors
    d_hidden = _hidden_gradient(hidden, slope, share, d_loss)

    def work(*read: Tensor) -> list[Tensor]:
        return [_weight_gradient(*read, ctx.precision)]

    read = hidden, weight, lse, answers, share, *copies, d_loss
    return d_hidden, *aside([weight], work, *read), None, None


_mean_loss_op = torch.library.custom_op(
    "recall_bench::labelled_cross_entropy", _forward, mutates_args=()
)
_mean_loss_op.register_fake(_mean_loss_shapes)
_mean_loss_op.register_autograd(_differentiate, setup_context=_save)
_mean_loss = differentiable(_mean_loss_op, _forward, _save, _differentiate)


@torch.library.custom_op("recall_bench::labelled_losses", mutates_args=())
@on_own_device
def _row_losses(
    hidden: Tensor, weight: Tensor, targets: Tensor, precision: str
) -> tuple[Tensor, Tensor]:
    losses, correct = _row_losses_shapes(hidden, weight, targets, precision)
    (N, D), V = hidden.shape, weight.shape[0]
    if N == 0:
        return losses, correct
    h, w, unit = _copies(hidden, weight, precision)
    parts = _attend(h, w, unit, N, V, D, precision, False)
    rows = _rows(h.shape[1])
    combine_kernel[(triton.cdiv(N, rows),)](
        h, w, unit, targets, targets.stride(0), *parts,
        losses, correct, None, None, None, None, N, len(parts.largest), D,
        M=rows, DP=h.shape[1], GRADIENT=False, IGNORED=IGNORE, num_warps=4,
    )  # fmt: skip
    return losses, correct


@_row_losses.register_fake
def _row_losses_shapes(
    hidden: Tensor, weight: Tensor, targets: Tensor, precision: str
) -> tuple[Tensor, Tensor]:
    N = len(hidden)
    return hidden.new_empty(N, dtype=torch.float32), hidden.new_empty(N, dtype=torch.bool)
