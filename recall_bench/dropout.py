"""Dropout whose mask costs a CPU little."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS = 1 << 16
"""A CPU drops with a probability that is a multiple of one in this many."""


class Dropout(nn.Module):
    """`torch.nn.Dropout`; on a CPU its mask comes from 16 random bits a number, not from 64.

    Drawn one by one as PyTorch does, the mask takes longer there than a linear map of the numbers.
    """

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0 or x.numel() == 0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p)
        return x * cheap_mask(x, self.p)


def cheap_mask(x: Tensor, p: float) -> Tensor:
    """Of the shape and dtype of x: zero with probability p, else 1 / (1 - p), p rounded."""
    dropped = round(p * LEVELS)
    words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    bits = words.view(torch.int16)[: x.numel()].view(x.shape)
    kept = bits >= dropped - LEVELS // 2
    return kept.to(x.dtype).mul_(LEVELS / (LEVELS - dropped))
