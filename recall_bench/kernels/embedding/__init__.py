"""Embedding lookup whose backward pass can reuse a precomputed order of the tokens."""

from torch import Tensor

from recall_bench.kernels.embedding.order import TokenOrder, token_order
from recall_bench.kernels.embedding.reference import LEVELS
from recall_bench.kernels.plumbing import dispatch

__all__ = ["TokenOrder", "embedding", "token_order"]


def embedding(
    tokens: Tensor,
    weight: Tensor,
    order: TokenOrder | None = None,
    dropout: float = 0.0,
    seed: Tensor | None = None,
    backend: str = "auto",
) -> Tensor:
    """weight[tokens], differentiable in ``weight``; its gradient is the same in every run.

    With ``dropout``, each element is zero with that probability, rounded to a multiple of 2^-16,
    and the others grow by 1 / (1 - dropout). ``seed`` selects the dropped elements; on one backend
    equal seeds drop the same ones. The kernel reads it on the device, so that a CUDA graph which
    changes it draws a new mask in every replay.

    Args:
        tokens: integers in 0 … V-1 of any shape, also empty.
        weight: (V, D).
        order: `token_order` of the same tokens, for batches that recur; computed if None.
        dropout: 0 <= dropout < 1.
        seed: an int64 scalar on the device of ``weight``; required with dropout.
        backend: "auto", "reference" or "triton".

    Returns:
        (…, D), of the dtype of ``weight``.
    """
    run = dispatch.implementation("embedding", backend, weight)
    return run(tokens, weight, order, round(dropout * LEVELS), seed)
