"""The linear map at some positions in plain PyTorch; also the training path on CPU."""

from torch import Tensor
from torch.nn import functional as F

from recall_bench.kernels.rows_at.reference import rows_at


def linear_at(
    x: Tensor, positions: Tensor, weight: Tensor, size: int, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """See `recall_bench.kernels.linear_at.linear_at`."""
    sizes = size, len(weight) - size
    few, rest = weight.split(sizes)  # not sliced: one copy gathers the gradients
    few_bias, rest_bias = (None, None) if bias is None else bias.split(sizes)
    return F.linear(rows_at(x, positions), few, few_bias), F.linear(x, rest, rest_bias)
