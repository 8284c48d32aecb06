"""Mixing tokens with their predecessors in plain PyTorch; also the training path on CPU."""

import torch
from torch import Tensor
from torch.nn import functional as F


def token_mix(x: Tensor, mix: Tensor) -> tuple[Tensor, ...]:
    """See `recall_bench.kernels.token_mix.token_mix`."""
    previous = F.pad(x, (0, 0, 1, 0))[:, :-1]
    return tuple(torch.lerp(previous, x, ratio) for ratio in mix.to(x.dtype))
