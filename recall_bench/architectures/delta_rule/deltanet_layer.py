"""DeltaNet: a matrix state that corrects what it recalls for a key."""

from torch import Tensor

from recall_bench.architectures.base import Recurrence
from recall_bench.architectures.carry import Carry
from recall_bench.architectures.pieces.convolved_qkv import ConvolvedQKV
from recall_bench.architectures.pieces.head_norm import HeadNorm
from recall_bench.kernels.delta import delta
from recall_bench.kernels.linear.module import Linear


class DeltaNetMixer(Recurrence):
    """DeltaNet (arXiv 2406.06484, sections 2.2 and 3.3), with d = d_model / num_heads in each head.

    q, k, v = silu(conv(W x)), q and k of unit length; beta = sigmoid(W x), or twice that if
    ``beta_limit`` is 2 (2411.12537), a scalar for each head;

        S_t = (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T,   y_t = S_t^T q_t / sqrt(d)

    and W_o rms_norm(y), normalised in each head. The convolutions start as PyTorch's, the backbone
    draws all linear maps; the released layer in flash-linear-attention is drawn by its model alike.

    State: ``conv`` (batch, kernel_size - 1, 3 d_model), the last inputs of the convolutions, and
    ``memory`` (batch, heads, d, d), S with the channels of k first.
    """

    def __init__(
        self, d_model: int, num_heads: int = 2, kernel_size: int = 4, beta_limit: float = 1.0
    ):
        super().__init__(d_model)
        head_dim = d_model // num_heads
        self.beta_limit = beta_limit
        self.qkv = ConvolvedQKV(d_model, num_heads, head_dim, head_dim, kernel_size)
        self.beta_proj = Linear(d_model, num_heads, bias=False)
        self.norm = HeadNorm(head_dim)
        self.out_proj = Linear(d_model, d_model, bias=False)

    def mix(self, x: Tensor, carry: Carry) -> Tensor:
        beta = self.beta_limit * self.beta_proj(x).sigmoid()  # (B, L, H)
        y: Tensor = carry("memory", delta, *self.qkv(x, carry), beta)
        return y

    def finish(self, y: Tensor) -> Tensor:
        return self.out_proj(self.norm(y))
