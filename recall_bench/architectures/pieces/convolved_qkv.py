"""Queries, keys and values of the delta rules: projected, convolved, and q and k of unit length."""

from torch import Tensor, nn

from recall_bench.architectures.carry import Carry
from recall_bench.architectures.pieces.l2_norm import l2_norm
from recall_bench.architectures.pieces.short_convolution import ShortConvolution
from recall_bench.kernels.linear.module import Linear


class ConvolvedQKV(nn.Module):
    """q, k, v = silu(conv(W x)), each with filters of its own; q, k of unit length in each head.

    Used by DeltaNet (arXiv 2406.06484, section 3.3) and what follows it. As in
    flash-linear-attention q is scaled by head_dim^(-1/2) after the normalisation. There may be
    several keys and values a token (DeltaProduct, 2502.10297).
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        d_k: int,
        d_v: int,
        kernel_size: int = 4,
        writes: int | None = None,
    ):
        super().__init__()
        self.heads = (num_heads,)
        self.writers = self.heads if writes is None else (writes, num_heads)
        keys, values = (num_heads * (writes or 1) * size for size in (d_k, d_v))
        self.sizes = [num_heads * d_k, keys, values]
        self.scale = d_k**-0.5
        self.proj = Linear(d_model, sum(self.sizes), bias=False)
        self.conv = ShortConvolution(sum(self.sizes), kernel_size)

    def forward(self, x: Tensor, carry: Carry) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, L, D) -> q (B, L, heads, d_k), k (B, L, [writes,] heads, d_k), v likewise."""
        q, k, v = self.conv(self.proj(x), carry, "conv").split(self.sizes, -1)
        q = l2_norm(q.unflatten(-1, (*self.heads, -1))) * self.scale
        k, v = (part.unflatten(-1, (*self.writers, -1)) for part in (k, v))
        return q, l2_norm(k), v
