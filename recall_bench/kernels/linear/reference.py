"""The linear map in plain PyTorch, on any device; also the training path on CPU."""

from torch import Tensor
from torch.nn import functional as F


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """See `recall_bench.kernels.linear.linear`."""
    return F.linear(x, weight, bias)


def linear_parts(
    x: Tensor, weight: Tensor, sizes: tuple[int, ...], bias: Tensor | None = None
) -> tuple[Tensor, ...]:
    """See `recall_bench.kernels.linear.linear_parts`."""
    return linear(x, weight, bias).split(sizes, -1)
