"""Linear attention: a feature map of queries and keys in the place of softmax."""

import torch
from torch import Tensor
from torch.nn import functional as F

from recall_bench.architectures.base import Recurrence
from recall_bench.architectures.carry import Carry
from recall_bench.architectures.pieces.feature_maps import feature_map
from recall_bench.architectures.pieces.head_norm import HeadNorm
from recall_bench.kernels.gated_linear import gated_linear
from recall_bench.kernels.linear.module import Linear

EPS = 1e-6
"""Added to the sum of scores, as in the released code of arXiv 2006.16236."""


class LinearAttentionMixer(Recurrence):
    """y_t = S_t^T phi(q_t) / (z_t.phi(q_t)) (arXiv 2006.16236, equations 16 to 20).

    S_t = sum_j phi(k_j) v_j^T and z_t = sum_j phi(k_j) over j <= t, in each head. With the
    normaliser "rms", an RMSNorm of each head replaces the quotient, as in RetNet and GLA. The
    projections have no biases, and the backbone initialises them.

    State: ``past`` (batch, heads, features, head_dim + 1), S and z, or without z for the
    normaliser "rms"; for the map "cosformer" also the tokens so far.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int = 1,
        feature_dim: int = 16,
        feature_map_name: str = "elu",
        degree: int = 2,
        horizon: int = 1024,
        normaliser: str = "sum",
    ):
        super().__init__(d_model)
        self.num_heads = num_heads
        keys = num_heads * feature_dim
        self.split = [keys, keys, d_model]
        self.qkv = Linear(d_model, sum(self.split), bias=False)
        self.phi = feature_map(feature_map_name, num_heads, feature_dim, degree, horizon)
        self.norm = HeadNorm(d_model // num_heads) if normaliser == "rms" else None
        self.out = Linear(d_model, d_model, bias=False)

    def mix(self, x: Tensor, carry: Carry) -> Tensor:
        parts = self.qkv(x).split(self.split, -1)
        q, k, v = (part.unflatten(-1, (self.num_heads, -1)) for part in parts)  # (B, L, H, ·)
        positions = None
        if self.phi.uses_positions:
            positions = carry.start[:, None] + torch.arange(x.shape[1], device=x.device)
        q, k = self.phi(q, k, positions)
        v = v if self.norm else F.pad(v, (0, 1), value=1.0)
        y: Tensor = carry("past", gated_linear, q, k, v)
        return y

    def finish(self, y: Tensor) -> Tensor:
        if self.norm:
            return self.out(self.norm(y))
        y = y[..., :-1] / (y[..., -1:] + EPS)
        return self.out(y.flatten(-2).to(self.out.weight.dtype))
