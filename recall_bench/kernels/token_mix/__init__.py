"""Mixing each token with the one before it, in several ratios at once."""

from torch import Tensor

from recall_bench.kernels.plumbing import dispatch

__all__ = ["token_mix"]


def token_mix(x: Tensor, mix: Tensor, backend: str = "auto") -> tuple[Tensor, ...]:
    """mix_n x_t + (1 - mix_n) x_{t-1} for each n, with zeros before the first token.

    RWKV's token shift (arXiv 2404.05892, section 4.1).

    Args:
        x: (batch, length, D); any length, also 0.
        mix: (N, D), the ratio of each channel for each of N outputs.
        backend: "auto", "reference" or "triton".

    Returns:
        N tensors (batch, length, D) in the dtype of x, not to be changed in place.
    """
    mixed: tuple[Tensor, ...] = dispatch.implementation("token_mix", backend, x)(x, mix)
    return mixed
