"""Mixing tokens with their predecessors in plain PyTorch; also the training path on CPU."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def token_mix(
    x: Tensor, mix: Tensor, initial_state: Tensor | None = None, return_state: bool = False
) -> Any:
    """See `recall_bench.kernels.token_mix.token_mix`."""
    if initial_state is None:
        previous = F.pad(x, (0, 0, 1, 0))[:, :-1]
    else:
        previous = torch.cat([initial_state[:, None].to(x.dtype), x[:, :-1]], 1)
    mixed = tuple(torch.lerp(previous, x, ratio) for ratio in mix.to(x.dtype))
    return (mixed, x[:, -1].clone()) if return_state else mixed
