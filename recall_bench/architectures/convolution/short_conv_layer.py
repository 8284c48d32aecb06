"""Gated short convolutions: the layer under almost every recurrent mixer of the Based paper."""

import torch
from torch import Tensor, nn

from recall_bench.architectures.base import Mixer, State
from recall_bench.kernels.linear.module import Linear
from recall_bench.kernels.short_conv import short_conv, short_conv_step


class DepthwiseConv(nn.Module):
    """Weights of one causal convolution a channel, drawn as `torch.nn.Conv1d` draws them."""

    def __init__(self, width: int, kernel_size: int):
        super().__init__()
        bound = kernel_size**-0.5
        self.weight = nn.Parameter(torch.empty(width, kernel_size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(width).uniform_(-bound, bound))


class ShortConvMixer(Mixer):
    """y = conv(x) * Linear(x) + x: the form of the synthetic experiments (arXiv 2402.18668).

    The state is the last kernel_size - 1 inputs.
    """

    def __init__(self, d_model: int, kernel_size: int = 3):
        super().__init__()
        self.conv = DepthwiseConv(d_model, kernel_size)
        self.gate = Linear(d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        return short_conv(x, self.conv.weight, self.conv.bias, gate=self.gate(x), residual=True)

    def prefill(self, x: Tensor) -> tuple[Tensor, State]:
        y, inputs = short_conv(
            x,
            self.conv.weight,
            self.conv.bias,
            return_state=True,
            gate=self.gate(x),
            residual=True,
        )
        return y, {"inputs": inputs}

    def initial_state(self, batch_size: int) -> State:
        width, kernel_size = self.conv.weight.shape
        return {"inputs": self.zeros(batch_size, kernel_size - 1, width)}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, inputs = short_conv_step(
            x,
            state["inputs"],
            self.conv.weight,
            self.conv.bias,
            gate=self.gate(x),
            residual=True,
        )
        return y, {"inputs": inputs}


class GatedShortConvMixer(Mixer):
    """y = W_out (SiLU(conv(u)) * g) with (u, g) = W_in x, the form of Based's language models.

    u and g are each twice as wide as x. The state is the last kernel_size - 1 values of u.
    """

    def __init__(self, d_model: int, kernel_size: int = 3):
        super().__init__()
        self.project = Linear(d_model, 4 * d_model)
        self.conv = DepthwiseConv(2 * d_model, kernel_size)
        self.out = Linear(2 * d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        u, gate = self.project.halves(x)
        return self.out(short_conv(u, self.conv.weight, self.conv.bias, "silu", gate=gate))

    def prefill(self, x: Tensor) -> tuple[Tensor, State]:
        u, gate = self.project.halves(x)
        y, inputs = short_conv(
            u, self.conv.weight, self.conv.bias, "silu", return_state=True, gate=gate
        )
        return self.out(y), {"inputs": inputs}

    def initial_state(self, batch_size: int) -> State:
        width, kernel_size = self.conv.weight.shape
        return {"inputs": self.zeros(batch_size, kernel_size - 1, width)}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        u, gate = self.project.halves(x)
        y, inputs = short_conv_step(
            u, state["inputs"], self.conv.weight, self.conv.bias, "silu", gate=gate
        )
        return self.out(y), {"inputs": inputs}
