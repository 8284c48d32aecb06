"""Gated DeltaNet and gated DeltaProduct: delta rules on a state that decays."""

from torch import Tensor

from recall_bench.architectures.base import Recurrence
from recall_bench.architectures.carry import Carry
from recall_bench.architectures.pieces.convolved_qkv import ConvolvedQKV
from recall_bench.architectures.pieces.head_norm import HeadNorm
from recall_bench.architectures.pieces.softplus_decay import SoftplusDecay
from recall_bench.kernels.delta import delta
from recall_bench.kernels.linear.module import Linear


class GatedDeltaNetMixer(Recurrence):
    """Gated DeltaNet (arXiv 2412.06464, equation 10 and section 3.4).

    q, k, v = silu(conv(W x)), q and k of unit length; beta = sigmoid(W x), or twice that if
    ``beta_limit`` is 2, and g = -exp(A_log) softplus(W x + dt_bias), scalars for each head;

        S_t = (I - beta_t k_t k_t^T) e^{g_t} S_{t-1} + beta_t k_t v_t^T
        y_t = S_t^T q_t / sqrt(d_k)

    and W_o (rms_norm(y) silu(W_g x)), normalised in each head, or without the gate. With ``writes``
    a token has several k, v and beta, whose delta rules follow one another after one decay: gated
    DeltaProduct (2502.10297, section 3), and without ``decay`` DeltaProduct. The convolutions start
    as PyTorch's, the backbone draws the linear maps.

    State: ``conv`` (batch, kernel_size - 1, heads (d_k + writes (d_k + d_v))), the last inputs of
    the convolutions, and ``memory`` (batch, heads, d_k, d_v), S.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        d_k: int,
        d_v: int,
        kernel_size: int = 4,
        *,
        writes: int = 1,
        decay: bool = True,
        gate: bool = True,
        beta_limit: float = 1.0,
    ):
        super().__init__(d_model)
        self.beta_limit = beta_limit
        self.qkv = ConvolvedQKV(d_model, num_heads, d_k, d_v, kernel_size, writes)
        self.beta_proj = Linear(d_model, writes * num_heads, bias=False)
        self.decay_proj = Linear(d_model, num_heads, bias=False) if decay else None
        self.decay = SoftplusDecay(num_heads) if decay else None
        self.gate_proj = Linear(d_model, num_heads * d_v, bias=False) if gate else None
        self.norm = HeadNorm(d_v)
        self.out_proj = Linear(num_heads * d_v, d_model, bias=False)

    def mix(self, x: Tensor, carry: Carry) -> tuple[Tensor, Tensor]:
        q, k, v = self.qkv(x, carry)  # k (B, L, writes, H, d_k)
        beta = self.beta_limit * self.beta_proj(x).sigmoid().unflatten(-1, k.shape[2:4])
        g = self.decay(self.decay_proj(x)) if self.decay and self.decay_proj else None
        return carry("memory", delta, q, k, v, beta, g), x

    def finish(self, y: Tensor, x: Tensor) -> Tensor:
        gate = self.gate_proj(x) if self.gate_proj else None
        return self.out_proj(self.norm(y, gate))
