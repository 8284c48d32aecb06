"""The precision of decays."""

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """x in float32, or in float64 if it is; products of many decays need it."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
