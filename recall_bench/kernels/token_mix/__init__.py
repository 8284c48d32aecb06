"""Mixing each token with the one before it, in several ratios at once."""

from torch import Tensor

from recall_bench.kernels.plumbing.operator import Layout, Shapes, Zeros, operator

__all__ = ["token_mix"]


@operator()
def token_mix(x: Tensor, mix: Tensor) -> Layout:
    """mix_n x_t + (1 - mix_n) x_{t-1} for each n, with zeros before the first token.

    RWKV's token shift (arXiv 2404.05892, section 4.1).

    Args:
        x: (batch, length, D); any length, also 0.
        mix: (N, D), the ratio of each channel for each of N outputs.

    Returns:
        N tensors (batch, length, D) in the dtype of x; do not change them in place. The state is
        the last token (batch, D).
    """
    sizes = Shapes("token_mix")
    sizes.check("x", x, "batch length D")
    sizes.check("mix", mix, "N D")
    return Zeros((sizes["batch"], sizes["D"]), x.dtype)
