"""Initial step sizes of state space models, and the parameter that softplus turns into them."""

import math

import torch
from torch import Tensor

DT_MIN, DT_MAX, DT_FLOOR = 1e-3, 1e-1, 1e-4
"""Range of the initial step sizes, drawn uniformly in log space."""


def initial_steps(count: int) -> Tensor:
    """Step sizes as Mamba draws them (arXiv 2312.00752, section 3.6)."""
    low, high = math.log(DT_MIN), math.log(DT_MAX)
    return torch.empty(count).uniform_(low, high).exp().clamp(min=DT_FLOOR)


def inverse_softplus(y: Tensor) -> Tensor:
    return y + torch.log(-torch.expm1(-y))
