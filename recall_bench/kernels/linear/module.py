"""The linear layer of all our mixers."""

from torch import Tensor, nn

from recall_bench.kernels.linear import linear, linear_parts
from recall_bench.kernels.linear_at import linear_at


class Linear(nn.Linear):
    """`torch.nn.Linear`, faster to train on a GPU."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)

    def halves(self, x: Tensor) -> tuple[Tensor, ...]:
        """The two halves of the output; do not change them in place."""
        return linear_parts(x, self.weight, (self.out_features // 2,) * 2, self.bias)

    def at(self, x: Tensor, positions: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """The first ``size`` outputs (the last ones if negative) at ``positions`` only, and the
        others everywhere."""
        return linear_at(x, positions, self.weight, size, self.bias)
