"""The gate of SwiGLU in plain PyTorch, on any device; also the training path on CPU."""

from torch import Tensor
from torch.nn import functional as F


def swiglu(x: Tensor) -> Tensor:
    """See `recall_bench.kernels.swiglu.swiglu`."""
    gate, value = x.chunk(2, -1)
    return F.silu(gate) * value
