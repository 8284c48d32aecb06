"""Kimi delta attention: the delta rule on a state whose channels decay separately."""

from torch import Tensor, nn

from recall_bench.architectures.base import Recurrence
from recall_bench.architectures.carry import Carry
from recall_bench.architectures.pieces.convolved_qkv import ConvolvedQKV
from recall_bench.architectures.pieces.head_norm import HeadNorm
from recall_bench.architectures.pieces.precision import at_least_float32
from recall_bench.architectures.pieces.softplus_decay import SoftplusDecay
from recall_bench.kernels.delta import delta
from recall_bench.kernels.linear.module import Linear

LOWEST = -5.0
"""The lower bound of a bounded log decay."""


class KDAMixer(Recurrence):
    """Kimi delta attention (arXiv 2510.26692, section 3; sizes from flash-linear-attention's kda).

    q, k, v = silu(conv(W x)), q and k of unit length; beta = sigmoid(W x) for each head; log decays
    g = -exp(A_log) softplus(F2 F1 x + dt_bias) for each channel of k, A_log for each head, with F1
    of rank d_v; exp(A_log) starts uniform in [1, 16]. If ``bounded``, g = -5 sigmoid(exp(A_log)
    (F2 F1 x + dt_bias)) with A_log = 0 at the start.

        S_t = (I - beta_t k_t k_t^T) diag(e^{g_t}) S_{t-1} + beta_t k_t v_t^T
        y_t = S_t^T q_t / sqrt(d_k)

    and W_o (rms_norm(y) sigmoid(G2 G1 x)), normalised in each head, G1 of rank d_v, G2 with a bias.
    The convolutions start as PyTorch's, the backbone draws the linear maps.

    State: ``conv`` (batch, kernel_size - 1, heads (2 d_k + d_v)), the last inputs of the
    convolutions, and ``memory`` (batch, heads, d_k, d_v), S.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int = 2,
        expand_v: int = 1,
        kernel_size: int = 4,
        *,
        bounded: bool = False,
    ):
        super().__init__(d_model)
        d_k = d_model // num_heads
        d_v = expand_v * d_k
        self.bounded = bounded
        self.qkv = ConvolvedQKV(d_model, num_heads, d_k, d_v, kernel_size)
        self.beta_proj = Linear(d_model, num_heads, bias=False)
        self.decay_down = Linear(d_model, d_v, bias=False)
        self.decay_up = Linear(d_v, d_model, bias=False)
        self.decay = SoftplusDecay(num_heads, d_k, slowest=1.0)
        if bounded:
            nn.init.zeros_(self.decay.A_log)
        self.gate_down = Linear(d_model, d_v, bias=False)
        self.gate_up = Linear(d_v, num_heads * d_v)
        self.norm = HeadNorm(d_v)
        self.out_proj = Linear(num_heads * d_v, d_model, bias=False)

    def mix(self, x: Tensor, carry: Carry) -> tuple[Tensor, Tensor]:
        q, k, v = self.qkv(x, carry)
        return carry("memory", delta, q, k, v, self.beta_proj(x).sigmoid(), self._log_decay(x)), x

    def finish(self, y: Tensor, x: Tensor) -> Tensor:
        return self.out_proj(self.norm(y) * self.gate_up(self.gate_down(x)).sigmoid())

    def _log_decay(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, H, d_k)."""
        steps = self.decay_up(self.decay_down(x))
        if not self.bounded:
            log_decay: Tensor = self.decay(steps)
            return log_decay
        steps = at_least_float32(steps) + at_least_float32(self.decay.dt_bias)
        rate = at_least_float32(self.decay.A_log).exp()[:, None]
        return LOWEST * (rate * steps.unflatten(-1, self.decay.shape)).sigmoid()
