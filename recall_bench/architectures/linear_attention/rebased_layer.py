"""ReBased: Based's linear attention with a learned, purely quadratic kernel."""

from torch import Tensor, nn
from torch.nn import functional as F

from recall_bench.architectures.base import Recurrence
from recall_bench.architectures.carry import Carry
from recall_bench.architectures.pieces.feature_maps import Polynomial
from recall_bench.kernels.gated_linear import gated_linear
from recall_bench.kernels.linear.module import Linear

EPS = 1e-6


class ReBasedMixer(Recurrence):
    """y_t = S_t^T phi(q_t) / (z_t.phi(q_t) + 1e-6), phi(q).phi(k) = (q.k)^2 / f (arXiv 2402.10644).

    S_t = sum_j phi(k_j) v_j^T and z_t = sum_j phi(k_j) over j <= t, in each head, f = feature_dim.
    q and k are linear maps of x that a LayerNorm of their own, over all heads together, scales and
    shifts, as in the authors' code. A score may be 0: that code adds 1e-12 to their
    sum and flash-linear-attention, as we do, 1e-6, since a query orthogonal to all keys would have
    huge gradients. The backbone initialises all maps.

    State: ``past`` (batch, heads, f (f + 1) / 2, head_dim + 1), S and z; equal products are kept
    once.
    """

    def __init__(self, d_model: int, feature_dim: int = 16, num_heads: int = 1):
        super().__init__(d_model)
        self.num_heads = num_heads
        keys = num_heads * feature_dim
        self.split = [keys, keys, d_model]
        self.qkv = Linear(d_model, sum(self.split), bias=False)
        self.q_norm = nn.LayerNorm(keys)
        self.k_norm = nn.LayerNorm(keys)
        self.phi = Polynomial(feature_dim, 2, constant=False)
        self.out = Linear(d_model, d_model, bias=False)

    def mix(self, x: Tensor, carry: Carry) -> Tensor:
        q, k, v = self.qkv(x).split(self.split, -1)
        parts = self.q_norm(q), self.k_norm(k), v
        q, k, v = (part.unflatten(-1, (self.num_heads, -1)) for part in parts)  # (B, L, H, ·)
        y: Tensor = carry("past", gated_linear, *self.phi(q, k), F.pad(v, (0, 1), value=1.0))
        return y

    def finish(self, y: Tensor) -> Tensor:
        y = y[..., :-1] / (y[..., -1:] + EPS)
        return self.out(y.flatten(-2).to(self.out.weight.dtype))
