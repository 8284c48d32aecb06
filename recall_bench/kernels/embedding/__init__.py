"""Rows of an embedding matrix, with a backward pass that takes the order of the tokens as given."""

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
    and the others grow by 1 / (1 - dropout). The seed decides which: on one backend the same one
    drops the same elements. It is read on the device, so that a CUDA graph which changes it draws
    anew in every replay.

    Args:
        tokens: integers in 0 … V-1 of any shape, also empty.
        weight: (V, D).
        order: `token_order` of the same tokens, for batches that come again; else it is computed.
        dropout: 0 <= dropout < 1.
        seed: an int64 scalar on the device of ``weight``; needed with dropout.
        backend: "auto", "reference" or "triton".

    Returns:
        (…, D), of the dtype of ``weight``.
    """
    run = dispatch.implementation("embedding", backend, weight)
    return run(tokens, weight, order, round(dropout * LEVELS), seed)
