"""Short depthwise convolution in plain PyTorch, on any device; also the training path on CPU.

B batch, L length, D width, K kernel size.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Activation = Literal["silu"] | None


def short_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: Activation = None,
    initial_state: Tensor | None = None,
    return_state: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """See `recall_bench.kernels.short_conv.short_conv`."""
    length, kernel = x.shape[1], weight.shape[1]
    if initial_state is None:
        padded = F.pad(x, (0, 0, kernel - 1, 0))
    else:
        padded = torch.cat([initial_state.to(x.dtype), x], 1)  # (B, K-1+L, D)
    y = x * weight[:, -1]
    for i in range(kernel - 1):
        y = y + padded[:, i : i + length] * weight[:, i]
    y = _finish(y, bias, activation)
    return (y, padded[:, length:].clone()) if return_state else y


def short_conv_step(
    x: Tensor,
    state: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: Activation = None,
) -> tuple[Tensor, Tensor]:
    """See `recall_bench.kernels.short_conv.short_conv_step`."""
    inputs = torch.cat([state, x[:, None]], 1)  # (B, K, D)
    y = torch.einsum("bkd,dk->bd", inputs, weight)
    return _finish(y, bias, activation), inputs[:, 1:].clone()


def _finish(y: Tensor, bias: Tensor | None, activation: Activation) -> Tensor:
    y = y if bias is None else y + bias
    return F.silu(y) if activation == "silu" else y
