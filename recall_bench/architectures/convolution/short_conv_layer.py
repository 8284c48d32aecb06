"""Gated short convolutions: the layer under almost every recurrent mixer of the Based paper."""

import torch
from torch import Tensor, nn

from recall_bench.architectures.base import Recurrence
from recall_bench.architectures.carry import Carry
from recall_bench.kernels.linear.module import Linear
from recall_bench.kernels.short_conv import short_conv


class DepthwiseConv(nn.Module):
    """Weights of one causal convolution per channel, drawn as `torch.nn.Conv1d` draws them."""

    def __init__(self, width: int, kernel_size: int):
        super().__init__()
        bound = kernel_size**-0.5
        self.weight = nn.Parameter(torch.empty(width, kernel_size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(width).uniform_(-bound, bound))


class ShortConvMixer(Recurrence):
    """y = conv(x) * Linear(x) + x: the form of the synthetic experiments (arXiv 2402.18668).

    The state is the last kernel_size - 1 inputs.
    """

    def __init__(self, d_model: int, kernel_size: int = 3):
        super().__init__(d_model)
        self.conv = DepthwiseConv(d_model, kernel_size)
        self.gate = Linear(d_model, d_model)

    def mix(self, x: Tensor, carry: Carry) -> Tensor:
        conv = self.conv.weight, self.conv.bias
        y: Tensor = carry("inputs", short_conv, x, *conv, gate=self.gate(x), residual=True)
        return y


class GatedShortConvMixer(Recurrence):
    """y = W_out (SiLU(conv(u)) * g) with (u, g) = W_in x, the form of Based's language models.

    u and g are each twice as wide as x. The state is the last kernel_size - 1 values of u.
    """

    def __init__(self, d_model: int, kernel_size: int = 3):
        super().__init__(d_model)
        self.project = Linear(d_model, 4 * d_model)
        self.conv = DepthwiseConv(2 * d_model, kernel_size)
        self.out = Linear(2 * d_model, d_model)

    def mix(self, x: Tensor, carry: Carry) -> Tensor:
        u, gate = self.project.halves(x)
        y: Tensor = carry("inputs", short_conv, u, self.conv.weight, self.conv.bias, "silu", gate)
        return y

    def finish(self, y: Tensor) -> Tensor:
        return self.out(y)
