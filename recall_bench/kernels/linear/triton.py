"""A linear map with PyTorch's products, and the gradient of its bias in Triton.

Under autocast the gradient of a weight is summed and written in float32 at once, not cast after.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from recall_bench.kernels.precision import product_dtype
from recall_bench.kernels.side import aside
from recall_bench.kernels.triton_sums import column_sum
from recall_bench.kernels.triton_support import differentiable, unavailable_for


def unavailable(op: str, tensor: Tensor) -> str | None:
    """Why these kernels cannot run on an x like ``tensor``; None where they can."""
    return unavailable_for(tensor)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """See `recall_bench.kernels.linear.linear`."""
    x = cast(x)
    return _linear(x, weight, like(x, weight), bias)


def linear_parts(
    x: Tensor, weight: Tensor, sizes: tuple[int, ...], bias: Tensor | None = None
) -> tuple[Tensor, ...]:
    """See `recall_bench.kernels.linear.linear_parts`."""
    x = cast(x)
    return _linear_parts(x, weight, like(x, weight), bias, sizes)


def cast(x: Tensor) -> Tensor:
    """x in the dtype of the products."""
    return x.to(product_dtype(x))


def like(x: Tensor, weight: Tensor) -> Tensor:
    """The weight in the dtype of x, cast once for both passes; gradients are for the weight."""
    return weight if weight.dtype == x.dtype else weight.detach().to(x.dtype)


def _forward(x: Tensor, weight: Tensor, factor: Tensor, bias: Tensor | None) -> Tensor:
    """``factor`` is the weight in the dtype of x."""
    return F.linear(x, factor, None if bias is None else bias.to(x.dtype))


def _shapes(x: Tensor, weight: Tensor, factor: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(*x.shape[:-1], weight.shape[0])


@torch.library.custom_op("recall_bench::linear_backward", mutates_args=())
def _backward(
    dy: Tensor, x: Tensor, factor: Tensor, dtype: torch.dtype, bias: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, of the weight in its ``dtype``, and of the bias, in float32, empty without
    one."""
    d_weight, d_bias = parameter_gradients(factor, dtype, bias)
    return gradients(dy, x, factor, d_weight, d_bias), d_weight, d_bias


def parameter_gradients(factor: Tensor, dtype: torch.dtype, bias: bool) -> tuple[Tensor, Tensor]:
    """New ones of the weight and, in float32, of the bias, empty without one."""
    sums = torch.empty(len(factor) if bias else 0, dtype=torch.float32, device=factor.device)
    return torch.empty_like(factor, dtype=dtype), sums


def gradients(dy: Tensor, x: Tensor, factor: Tensor, d_weight: Tensor, d_bias: Tensor) -> Tensor:
    """That of x; those of the weight and, where it is not empty, of the bias go to the others."""
    rows, inputs = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
    fill(rows, inputs, d_weight, d_bias)
    return (rows @ factor).view(x.shape)


def fill(rows: Tensor, inputs: Tensor, d_weight: Tensor, d_bias: Tensor) -> None:
    """d_weight = rows^T inputs, summed in its own precision, and d_bias = the sum of the rows."""

    def work(rows: Tensor, inputs: Tensor) -> None:
        if rows.dtype == d_weight.dtype:
            torch.mm(rows.t(), inputs, out=d_weight)
        elif rows.is_cuda:
            torch.mm(rows.t(), inputs, out_dtype=d_weight.dtype, out=d_weight)
        else:
            d_weight.copy_(rows.t() @ inputs)
        if len(d_bias) > 0:
            column_sum(rows, d_bias)

    aside(work, rows, inputs)


@_backward.register_fake
def _backward_shapes(
    dy: Tensor, x: Tensor, factor: Tensor, dtype: torch.dtype, bias: bool
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(x), *parameter_gradients(factor, dtype, bias)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, factor, bias = inputs
    ctx.dtype, ctx.bias_dtype = weight.dtype, None if bias is None else bias.dtype
    ctx.save_for_backward(x, factor)


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    dx, d_weight, d_bias = _backward(dy, *ctx.saved_tensors, ctx.dtype, ctx.bias_dtype is not None)
    return dx, d_weight, None, None if ctx.bias_dtype is None else d_bias.to(ctx.bias_dtype)


_linear_op = torch.library.custom_op("recall_bench::linear", _forward, mutates_args=())
_linear_op.register_fake(_shapes)
_linear_op.register_autograd(_differentiate, setup_context=_save)
_linear = differentiable(_linear_op, _forward, _save, _differentiate)


def _forward_parts(
    x: Tensor, weight: Tensor, factor: Tensor, bias: Tensor | None, sizes: tuple[int, ...]
) -> tuple[Tensor, ...]:
    return _forward(x, weight, factor, bias).split(sizes, -1)


def _split_linear(
    x: Tensor, weight: Tensor, factor: Tensor, bias: Tensor | None, sizes: tuple[int, ...]
) -> tuple[Tensor, ...]:
    parts: tuple[Tensor, ...] = _linear_op(x, weight, factor, bias).split(sizes, -1)
    return parts


def _save_parts(ctx: Any, inputs: tuple[Any, ...], outputs: tuple[Tensor, ...]) -> None:
    *tensors, ctx.sizes = inputs
    _save(ctx, tuple(tensors), outputs[0])


def _differentiate_parts(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
    """Each part's product is added to the gradient of x, and gives its rows of the weight's."""
    x, factor = ctx.saved_tensors
    inputs, dx = x.reshape(-1, x.shape[-1]), None
    d_weight, d_bias = parameter_gradients(factor, ctx.dtype, ctx.bias_dtype is not None)
    sums = d_bias.split(ctx.sizes) if len(d_bias) > 0 else (d_bias,) * len(ctx.sizes)
    parts = zip(gradients, factor.split(ctx.sizes), d_weight.split(ctx.sizes), sums, strict=True)
    for dy, part, d_part, d_some in parts:
        if dy is None:
            d_part.zero_()
            d_some.zero_()
            continue
        rows = dy.reshape(-1, dy.shape[-1])
        fill(rows, inputs, d_part, d_some)
        dx = rows @ part if dx is None else dx.addmm_(rows, part)
    summed = None if ctx.bias_dtype is None else d_bias.to(ctx.bias_dtype)
    return None if dx is None else dx.view(x.shape), d_weight, None, summed, None


_linear_parts = differentiable(_split_linear, _forward_parts, _save_parts, _differentiate_parts)
