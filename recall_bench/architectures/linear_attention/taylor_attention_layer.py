"""Based's linear attention: the second-order Taylor expansion replaces softmax's exponential."""

from torch import Tensor

from recall_bench.architectures.base import Recurrence
from recall_bench.architectures.carry import Carry
from recall_bench.kernels.linear.module import Linear
from recall_bench.kernels.rows_at import rows_at
from recall_bench.kernels.taylor_attention import taylor_attention, taylor_attention_at


class TaylorAttentionMixer(Recurrence):
    """y_t = phi(q_t) S_t / (phi(q_t).z_t) (Based, arXiv 2402.18668, section 4).

    The state, in float32, is S and z over the 1 + f + f(f+1)/2 distinct features of f =
    feature_dim: it keeps each product of two different coordinates once, not twice.
    """

    def __init__(self, d_model: int, feature_dim: int = 16, num_heads: int = 1):
        super().__init__(d_model)
        self.num_heads = num_heads
        self.head_dim = d_model // num_heads
        self.feature_dim = feature_dim
        self.qkv = Linear(d_model, 2 * num_heads * feature_dim + d_model, bias=False)
        self.out = Linear(d_model, d_model, bias=False)

    def mix(self, x: Tensor, carry: Carry) -> Tensor:
        y: Tensor = carry("past", taylor_attention, *self._project(x))
        return y.flatten(-2)

    def finish(self, y: Tensor) -> Tensor:
        return self.out(y)

    def at(self, x: Tensor, positions: Tensor) -> Tensor:
        """On a CPU, project and answer queries at ``positions`` only."""
        if x.is_cuda:
            return self.out(rows_at(taylor_attention(*self._project(x)).flatten(-2), positions))
        features, width = self.num_heads * self.feature_dim, self.out.in_features
        q, kv = self.qkv.at(x, positions, features)
        k, v = kv.split((features, width), -1)
        q, k, v = (part.unflatten(-1, (self.num_heads, -1)) for part in (q, k, v))
        return self.out(taylor_attention_at(q, k, v, positions).flatten(-2))

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(…, width) -> q, k (…, heads, feature_dim), v (…, heads, head_dim)."""
        features = self.num_heads * self.feature_dim
        parts = self.qkv(x).split((features, features, self.num_heads * self.head_dim), -1)
        q, k, v = (part.unflatten(-1, (self.num_heads, -1)) for part in parts)
        return q, k, v
