"""PyTorch gathers rows at a few positions; Triton adds up their gradients, without atomics."""

from typing import Any

import torch
from torch import Tensor

from recall_bench.kernels.plumbing.triton_rows import add_rows
from recall_bench.kernels.plumbing.triton_support import differentiable, unavailable_for
from recall_bench.kernels.rows_at import reference


def unavailable(op: str, tensor: Tensor) -> str | None:
    """The reason these kernels cannot run on an x like ``tensor``, or None."""
    return unavailable_for(tensor)


def rows_at(x: Tensor, positions: Tensor) -> Tensor:
    """See `recall_bench.kernels.rows_at.rows_at`."""
    y: Tensor = _rows_at(x, positions)
    return y


def _forward(x: Tensor, positions: Tensor) -> Tensor:
    return reference.rows_at(x, positions)


def _shapes(x: Tensor, positions: Tensor) -> Tensor:
    return x.new_empty(*positions.shape, *x.shape[2:])


@torch.library.custom_op("recall_bench::rows_at_backward", mutates_args=())
def _backward(dy: Tensor, positions: Tensor, length: int) -> Tensor:
    dx = dy.new_zeros(len(dy), length, *dy.shape[2:])
    return add_rows(dx, dy, positions)


@_backward.register_fake
def _backward_shapes(dy: Tensor, positions: Tensor, length: int) -> Tensor:
    return dy.new_empty(dy.shape[0], length, *dy.shape[2:])


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, positions = inputs
    ctx.length = x.shape[1]
    ctx.save_for_backward(positions)


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    return _backward(dy, *ctx.saved_tensors, ctx.length), None


rows_at_op = torch.library.custom_op("recall_bench::rows_at", _forward, mutates_args=())
rows_at_op.register_fake(_shapes)
rows_at_op.register_autograd(_differentiate, setup_context=_save)
_rows_at = differentiable(rows_at_op, _forward, _save, _differentiate)
