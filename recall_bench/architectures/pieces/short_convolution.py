"""The short convolution in front of a recurrence."""

from typing import Literal

import torch
from torch import Tensor, nn

from recall_bench.architectures.carry import Carry
from recall_bench.kernels.short_conv import short_conv


class ShortConvolution(nn.Module):
    """A depthwise causal convolution, started as `torch.nn.Conv1d` starts its own.

    ``conv(x, carry, name)`` keeps the last ``kernel_size`` - 1 inputs under ``name``.
    """

    def __init__(
        self,
        width: int,
        kernel_size: int = 4,
        bias: bool = False,
        activation: Literal["silu"] | None = "silu",
    ):
        super().__init__()
        bound = kernel_size**-0.5
        self.weight = nn.Parameter(torch.empty(width, kernel_size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(width).uniform_(-bound, bound)) if bias else None
        self.activation = activation

    def forward(self, x: Tensor, carry: Carry, name: str) -> Tensor:
        """(batch, length, width) -> same."""
        y: Tensor = carry(name, short_conv, x, self.weight, self.bias, self.activation)
        return y
