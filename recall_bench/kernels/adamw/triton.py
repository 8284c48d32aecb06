"""AdamW in Triton: one pass over a tensor, in pieces small enough to fill a GPU.

PyTorch's kernel for many tensors gives each multiprocessor 65,536 numbers, so that the embedding of
a small model leaves most of a GPU idle.
"""
# mypy: disable-error-code="no-untyped-def"

import math
from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from recall_bench.kernels.plumbing.triton_support import on_own_device, unavailable_for

TILE = 2048
"""Numbers that a program updates."""


@triton.jit
def _update_kernel(
    weight, gradient, first, second, count, rate, size, decay, eps,
    KEEP1: tl.constexpr, KEEP2: tl.constexpr, LOG1: tl.constexpr, LOG2: tl.constexpr,
    TILE: tl.constexpr,
):  # fmt: skip
    """``LOG1`` and ``LOG2`` are the binary logarithms of the two betas."""
    offset = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
    inside = offset < size
    w = tl.load(weight + offset, mask=inside, other=0.0).to(tl.float32)
    g = tl.load(gradient + offset, mask=inside, other=0.0).to(tl.float32)
    m = tl.load(first + offset, mask=inside, other=0.0).to(tl.float32)
    v = tl.load(second + offset, mask=inside, other=0.0).to(tl.float32)
    lr = tl.load(rate)
    steps = tl.load(count).to(tl.float64)  # float32 keeps too few digits of 1 - 0.999
    unbias1 = (1.0 - tl.exp2(steps * LOG1)).to(tl.float32)
    unbias2 = (1.0 - tl.exp2(steps * LOG2)).to(tl.float32)
    m = KEEP1 * m + (1.0 - KEEP1) * g
    v = KEEP2 * v + (1.0 - KEEP2) * g * g
    w -= lr * decay * w
    w -= lr / unbias1 * m / (tl.sqrt(v / unbias2) + eps)
    tl.store(weight + offset, w.to(weight.dtype.element_ty), mask=inside)
    tl.store(first + offset, m.to(first.dtype.element_ty), mask=inside)
    tl.store(second + offset, v.to(second.dtype.element_ty), mask=inside)


def unavailable(op: str, tensor: Tensor) -> str | None:
    """The reason this kernel cannot run on a weight like ``tensor``, or None."""
    return unavailable_for(tensor)


@torch.no_grad()
def adamw(
    weights: Sequence[Tensor],
    gradients: Sequence[Tensor],
    firsts: Sequence[Tensor],
    seconds: Sequence[Tensor],
    *others: Any,
) -> None:
    """See `recall_bench.kernels.adamw.adamw`."""
    for tensors in zip(weights, gradients, firsts, seconds, strict=True):
        _update(*tensors, *others)


@on_own_device
def _update(
    weight: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    count: Tensor,
    rate: Tensor,
    weight_decay: float,
    betas: tuple[float, float],
    eps: float,
) -> None:
    keep1, keep2 = betas
    _update_kernel[(triton.cdiv(weight.numel(), TILE),)](
        weight, gradient.contiguous(), first, second, count, rate, weight.numel(),
        weight_decay, eps, KEEP1=keep1, KEEP2=keep2, LOG1=math.log2(keep1), LOG2=math.log2(keep2),
        TILE=TILE, num_warps=8,
    )  # fmt: skip
