"""Normalisation of each head in plain PyTorch, on any device; also the training path on CPU."""

import torch
from torch import Tensor
from torch.nn import functional as F


def head_norm(y: Tensor, gate: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """See `recall_bench.kernels.head_norm.head_norm`."""
    normed = F.layer_norm(y, y.shape[-1:], eps=eps).flatten(-2).to(gate.dtype)
    return (torch.addcmul(bias, normed, weight) * F.silu(gate)).to(gate.dtype)
