"""The norm of each head's output, and its gate."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class HeadNorm(nn.Module):
    """RMSNorm over the last axis with a learned scale, times silu of a gate if there is one.

    All heads share the scale. This is the output norm of flash-linear-attention's layers, GLA's for
    one (arXiv 2312.06635, section 4.4).
    """

    def __init__(self, head_dim: int, eps: float = 1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(head_dim))
        self.eps = eps

    def forward(self, y: Tensor, gate: Tensor | None = None) -> Tensor:
        """(…, heads, head_dim) and a gate (…, heads head_dim) -> (…, heads head_dim).

        The result has the dtype of the gate, or without one that of the weights.
        """
        normed = F.rms_norm(y, y.shape[-1:], eps=self.eps) * self.weight
        if gate is None:
            return normed.flatten(-2).to(self.weight.dtype)
        return (normed.flatten(-2) * F.silu(gate)).to(gate.dtype)
