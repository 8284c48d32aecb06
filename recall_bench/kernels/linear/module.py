"""The linear layer of all our mixers."""

from torch import Tensor, nn

from recall_bench.kernels.linear import linear, linear_parts
from recall_bench.kernels.linear_at import linear_at


class Linear(nn.Linear):
    """`torch.nn.Linear`, faster to train on a GPU."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)

    def halves(self, x: Tensor) -> tuple[Tensor, ...]:
        """The two halves of the output, not to be changed in place."""
        return linear_parts(x, self.weight, (self.out_features // 2,) * 2, self.bias)

    def at(self, x: Tensor, positions: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """The first ``size`` outputs at ``positions`` alone, and the others everywhere; the last
        ones where ``size`` is negative."""
        return linear_at(x, positions, self.weight, size, self.bias)
