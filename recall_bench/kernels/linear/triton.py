"""A linear map with PyTorch's products, and the gradient of its bias in Triton.

Under autocast the products sum and write a weight's gradient in float32, without a later cast.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from recall_bench.kernels.plumbing.precision import product_dtype
from recall_bench.kernels.plumbing.side import aside
from recall_bench.kernels.plumbing.triton_sums import column_sum_into
from recall_bench.kernels.plumbing.triton_support import as_rows, differentiable, unavailable_for


def unavailable(op: str, tensor: Tensor) -> str | None:
    """The reason these kernels cannot run on an x like ``tensor``, or None."""
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
    """The weight in the dtype of x, cast once for both passes; gradients go to the weight."""
    return weight if weight.dtype == x.dtype else weight.detach().to(x.dtype)


def _forward(x: Tensor, weight: Tensor, factor: Tensor, bias: Tensor | None) -> Tensor:
    """``factor`` is the weight in the dtype of x."""
    return F.linear(x, factor, None if bias is None else bias.to(x.dtype))


def _shapes(x: Tensor, weight: Tensor, factor: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(*x.shape[:-1], weight.shape[0])


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, factor, bias = inputs
    ctx.save_for_backward(x, weight, factor, bias)


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, factor, bias = ctx.saved_tensors
    rows, inputs = as_rows(dy), as_rows(x)
    d_weight, d_bias = parameter_gradients(weight, bias, [rows], [inputs])
    return (rows @ factor).view(x.shape), d_weight, None, d_bias


def parameter_gradients(
    weight: Tensor, bias: Tensor | None, rows: list[Tensor], inputs: list[Tensor]
) -> Sequence[Tensor | None]:
    """The gradients of the weight and the bias, whose rows the products share in order.

    Each product gives the gradient of its outputs and its inputs, both as matrices.
    """

    def work(rows: list[Tensor], inputs: list[Tensor]) -> list[Tensor | None]:
        d_weight, sums = _parameters(rows, inputs, weight.dtype, bias is not None)
        return [d_weight, None if bias is None else sums.to(bias.dtype)]

    return aside([weight, bias], work, rows, inputs)


@torch.library.custom_op("recall_bench::linear_parameters", mutates_args=())
def _parameters(
    rows: Sequence[Tensor], inputs: Sequence[Tensor], dtype: torch.dtype, bias: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of the weight in its ``dtype`` and of the bias in float32, empty without a bias."""
    d_weight, d_bias = _parameters_shapes(rows, inputs, dtype, bias)
    sizes = [part.shape[1] for part in rows]
    for part, its_inputs, total in zip(rows, inputs, d_weight.split(sizes), strict=True):
        if part.dtype == dtype:
            torch.mm(part.t(), its_inputs, out=total)
        elif part.is_cuda:
            torch.mm(part.t(), its_inputs, out_dtype=dtype, out=total)
        else:
            total.copy_(part.t() @ its_inputs)
    if bias:
        for part, total in zip(rows, d_bias.split(sizes), strict=True):
            column_sum_into(part, total)
    return d_weight, d_bias


@_parameters.register_fake
def _parameters_shapes(
    rows: Sequence[Tensor], inputs: Sequence[Tensor], dtype: torch.dtype, bias: bool
) -> tuple[Tensor, Tensor]:
    outputs, x = sum(part.shape[1] for part in rows), inputs[0]
    d_weight = torch.empty(outputs, x.shape[1], dtype=dtype, device=x.device)
    return d_weight, torch.empty(outputs if bias else 0, dtype=torch.float32, device=x.device)


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
    """Each part adds a product to the gradient of x, and gives rows of the weight's gradient."""
    x, weight, factor, bias = ctx.saved_tensors
    inputs = as_rows(x)
    rows = [
        inputs.new_zeros(len(inputs), size) if dy is None else as_rows(dy)
        for dy, size in zip(gradients, ctx.sizes, strict=True)
    ]
    d_weight, d_bias = parameter_gradients(weight, bias, rows, [inputs] * len(rows))
    parts = factor.split(ctx.sizes)
    dx = rows[0] @ parts[0]
    for dy, part in zip(rows[1:], parts[1:], strict=True):
        dx.addmm_(dy, part)
    return dx.view(x.shape), d_weight, None, d_bias, None


_linear_parts = differentiable(_split_linear, _forward_parts, _save_parts, _differentiate_parts)
