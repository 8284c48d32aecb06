"""The linear map at some positions: one tensor collects the gradient of x from both products.

The backward pass adds the gradient at the few positions in place. Autograd would expand it to a
tensor of mostly zeros, and add all of that.
"""

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from recall_bench.kernels.linear.triton import cast, like, linear, parameter_gradients
from recall_bench.kernels.linear_at.reference import halves
from recall_bench.kernels.plumbing.triton_rows import add_rows
from recall_bench.kernels.plumbing.triton_support import as_rows, differentiable, unavailable_for
from recall_bench.kernels.rows_at import reference, triton


def unavailable(op: str, tensor: Tensor) -> str | None:
    """The reason these kernels cannot run on an x like ``tensor``, or None."""
    return unavailable_for(tensor)


def linear_at(
    x: Tensor, positions: Tensor, weight: Tensor, size: int, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """See `recall_bench.kernels.linear_at.linear_at`."""
    x = cast(x)
    few, rest, _ = _linear_at(x, positions, weight, like(x, weight), bias, size)
    return few, rest


def _forward(
    x: Tensor, positions: Tensor, weight: Tensor, factor: Tensor, bias: Tensor | None, size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Both products, and for the weight's gradient the rows of x at the positions.

    ``factor`` is the weight in the dtype of x.
    """
    rows = reference.rows_at(x, positions)
    few, rest = halves(factor, size)
    few_bias, rest_bias = (None, None) if bias is None else halves(bias.to(x.dtype), size)
    return F.linear(rows, few, few_bias), F.linear(x, rest, rest_bias), rows


def _traced(
    x: Tensor, positions: Tensor, weight: Tensor, factor: Tensor, bias: Tensor | None, size: int
) -> tuple[Tensor, Tensor, Tensor]:
    rows = triton.rows_at(x, positions)
    few, rest = halves(weight, size)
    few_bias, rest_bias = (None, None) if bias is None else halves(bias, size)
    return linear(rows, few, few_bias), linear(x, rest, rest_bias), rows


def _save(ctx: Any, inputs: tuple[Any, ...], outputs: tuple[Tensor, Tensor, Tensor]) -> None:
    x, positions, weight, factor, bias, ctx.size = inputs
    ctx.save_for_backward(x, outputs[2], positions, weight, factor, bias)


def _differentiate(
    ctx: Any, d_few: Tensor | None, d_rest: Tensor | None, _: None
) -> tuple[Tensor | None, ...]:
    x, rows, positions, weight, factor, bias = ctx.saved_tensors
    few, rest = halves(factor, ctx.size)
    if d_few is None:
        d_few = rows.new_zeros(*rows.shape[:-1], len(few))
    if d_rest is None:
        d_rest = x.new_zeros(*x.shape[:-1], len(rest))
    slopes, inputs = [as_rows(d_few), as_rows(d_rest)], [as_rows(rows), as_rows(x)]
    order = 1 if ctx.size >= 0 else -1  # the order of both parts in the weight
    d_weight, d_bias = parameter_gradients(weight, bias, slopes[::order], inputs[::order])
    d_rows, dx = (slopes[0] @ few).view(rows.shape), (slopes[1] @ rest).view(x.shape)
    return add_rows(dx, d_rows, positions), None, d_weight, None, d_bias, None


_linear_at = differentiable(_traced, _forward, _save, _differentiate)
