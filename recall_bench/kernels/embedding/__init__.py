"""Rows of an embedding matrix, with a backward pass that takes the order of the tokens as given."""

from torch import Tensor

from recall_bench.kernels import dispatch
from recall_bench.kernels.embedding.order import TokenOrder, token_order

__all__ = ["TokenOrder", "embedding", "token_order"]


def embedding(
    tokens: Tensor, weight: Tensor, order: TokenOrder | None = None, backend: str = "auto"
) -> Tensor:
    """weight[tokens], differentiable in ``weight``; its gradient is the same in every run.

    Args:
        tokens: integers in 0 … V-1 of any shape, also empty.
        weight: (V, D).
        order: `token_order` of the same tokens, for batches that come again; else it is computed.
        backend: "auto", "reference" or "triton".

    Returns:
        (…, D), of the dtype of ``weight``.
    """
    return dispatch.implementation("embedding", backend, weight)(tokens, weight, order)
