"""The linear map at some positions in plain PyTorch; also the training path on CPU."""

from torch import Tensor
from torch.nn import functional as F

from recall_bench.kernels.rows_at.reference import rows_at


def linear_at(
    x: Tensor, positions: Tensor, weight: Tensor, size: int, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """See `recall_bench.kernels.linear_at.linear_at`."""
    few, rest = halves(weight, size)
    few_bias, rest_bias = (None, None) if bias is None else halves(bias, size)
    return F.linear(rows_at(x, positions), few, few_bias), F.linear(x, rest, rest_bias)


def halves(x: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The first ``size`` rows of x and the rest, or the last -size and the rest.

    Split, not sliced: one copy gathers the gradients.
    """
    first = size if size >= 0 else len(x) + size
    one, other = x.split((first, len(x) - first))
    return (one, other) if size >= 0 else (other, one)
