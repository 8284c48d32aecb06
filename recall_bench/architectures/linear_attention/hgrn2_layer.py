"""HGRN2: gated linear attention whose keys are what its decays forget."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from recall_bench.architectures.base import Recurrence
from recall_bench.architectures.carry import Carry
from recall_bench.architectures.pieces.head_norm import HeadNorm
from recall_bench.architectures.pieces.precision import at_least_float32
from recall_bench.kernels.gated_linear import gated_linear
from recall_bench.kernels.linear.module import Linear


class HGRN2Mixer(Recurrence):
    """The HGRN2 layer (arXiv 2404.07904), as in flash-linear-attention.

    q = silu(W_q x), v = W_v x, and decays w = b + (1 - b) sigmoid(W_w x) with the lower bound b. In
    each head:

        S_t = diag(w_t) S_{t-1} + (1 - w_t) v_t^T,   y_t = S_t^T q_t / sqrt(d)

    and out(norm(y)), an RMSNorm over all heads together. The paper learns lower bounds that rise
    from layer to layer and are 0 in the first. A mixer knows one layer, so b is a constant here,
    and 0 by default. The backbone initialises all maps.

    State: ``past`` (batch, heads, head_dim, head_dim), S.
    """

    def __init__(self, d_model: int, head_dim: int = 64, lower_bound: float = 0.0):
        super().__init__(d_model)
        self.head_dim = head_dim
        self.lower_bound = lower_bound
        self.qwv = Linear(d_model, 3 * d_model, bias=False)
        self.norm = HeadNorm(d_model)
        self.out = Linear(d_model, d_model, bias=False)

    def mix(self, x: Tensor, carry: Carry) -> Tensor:
        q, w, v = self.qwv(x).unflatten(-1, (3, -1, self.head_dim)).unbind(-3)  # (B, L, H, d)
        q, w = F.silu(q) * self.head_dim**-0.5, at_least_float32(w)
        k = (1 - self.lower_bound) * torch.sigmoid(-w)
        y: Tensor = carry("past", gated_linear, q, k, v, self._log_decay(w))
        return y

    def finish(self, y: Tensor) -> Tensor:
        return self.out(self.norm(y.flatten(-2)[..., None, :]))

    def _log_decay(self, w: Tensor) -> Tensor:
        """log(b + (1 - b) sigmoid(w)), of which the first term vanishes at b = 0."""
        log_decay = F.logsigmoid(w)
        if self.lower_bound == 0:
            return log_decay
        log_bound = torch.full_like(w, math.log(self.lower_bound))
        return torch.logaddexp(log_bound, math.log1p(-self.lower_bound) + log_decay)
