"""The linear layer of all our mixers."""

from torch import Tensor, nn

from recall_bench.kernels.linear import linear, linear_parts


class Linear(nn.Linear):
    """`torch.nn.Linear`, faster to train on a GPU."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)

    def parts(self, x: Tensor, *sizes: int) -> tuple[Tensor, ...]:
        """The output split into parts of these sizes, not to be changed in place."""
        return linear_parts(x, self.weight, sizes, self.bias)
