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
    gate: Tensor | None = None,
    residual: bool = False,
    initial_state: Tensor | None = None,
    return_state: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """See `recall_bench.kernels.short_conv.short_conv`."""
    kernel = weight.shape[1]
    if initial_state is None:
        inputs = F.pad(x, (0, 0, kernel - 1, 0))  # (B, K-1+L, D)
    else:
        inputs = torch.cat([initial_state.to(x.dtype), x], 1)
    y = _convolve(inputs, weight, bias, activation, gate, x if residual else None)
    return (y, inputs[:, x.shape[1] :].clone()) if return_state else y


def _convolve(
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: Activation,
    gate: Tensor | None,
    residual: Tensor | None,
) -> Tensor:
    """(B, K-1+L, D) -> (B, L, D), summed in at least float32.

    It sums shifted products, which on a CPU are faster than a transposed `conv1d` both ways.
    """
    kernel = weight.shape[1]
    length = inputs.shape[1] - kernel + 1
    taps = weight.to(torch.promote_types(inputs.dtype, torch.float32)).unbind(1)  # K of (D,)
    y = inputs[:, :length] * taps[0]
    for i in range(1, kernel):
        y = torch.addcmul(y, inputs[:, i : i + length], taps[i])
    if bias is not None:
        y = y + bias
    if activation == "silu":
        y = F.silu(y)
    if gate is not None and residual is not None:
        y = torch.addcmul(residual, y, gate)
    elif gate is not None:
        y = y * gate
    elif residual is not None:
        y = y + residual
    return y.to(inputs.dtype)
