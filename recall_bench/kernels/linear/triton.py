"""A linear map with PyTorch's products, and the gradient of its bias in Triton.

Under autocast the gradient of a weight is summed and written in float32 at once, not cast after.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from recall_bench.kernels.triton_sums import column_sum
from recall_bench.kernels.triton_support import differentiable, unavailable_for


def unavailable(op: str, tensor: Tensor) -> str | None:
    """Why these kernels cannot run on an x like ``tensor``; None where they can."""
    return unavailable_for(tensor)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """See `recall_bench.kernels.linear.linear`."""
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    return _linear(x, weight, bias)


def _forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    bias = None if bias is None else bias.to(x.dtype)
    return F.linear(x, weight.to(x.dtype), bias)


def _shapes(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(*x.shape[:-1], weight.shape[0])


@torch.library.custom_op("recall_bench::linear_backward", mutates_args=())
def _backward(dy: Tensor, x: Tensor, weight: Tensor, bias: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, of weight and of the bias, in float32, empty without one."""
    rows, inputs = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
    dx = (rows @ weight.to(dy.dtype)).view(x.shape)
    if dy.is_cuda and dy.dtype != weight.dtype:
        d_weight = torch.mm(rows.t(), inputs, out_dtype=weight.dtype)
    else:
        d_weight = (rows.t() @ inputs).to(weight.dtype)
    return dx, d_weight, column_sum(rows) if bias else dy.new_empty(0, dtype=torch.float32)


@_backward.register_fake
def _backward_shapes(
    dy: Tensor, x: Tensor, weight: Tensor, bias: bool
) -> tuple[Tensor, Tensor, Tensor]:
    sums = dy.new_empty(weight.shape[0] if bias else 0, dtype=torch.float32)
    return torch.empty_like(x), torch.empty_like(weight), sums


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, bias = inputs
    ctx.bias_dtype = None if bias is None else bias.dtype
    ctx.save_for_backward(x, weight)


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    dx, d_weight, d_bias = _backward(dy, *ctx.saved_tensors, ctx.bias_dtype is not None)
    return dx, d_weight, None if ctx.bias_dtype is None else d_bias.to(ctx.bias_dtype)


_linear_op = torch.library.custom_op("recall_bench::linear", _forward, mutates_args=())
_linear_op.register_fake(_shapes)
_linear_op.register_autograd(_differentiate, setup_context=_save)
_linear = differentiable(_linear_op, _forward, _save, _differentiate)
