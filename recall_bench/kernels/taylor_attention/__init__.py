"""Based's linear attention: the second-order Taylor expansion of exp as its feature map."""

from typing import Literal, overload

from torch import Tensor

from recall_bench.kernels.plumbing import dispatch
from recall_bench.kernels.taylor_attention import reference
from recall_bench.kernels.taylor_attention.reference import (
    TaylorState,
    empty_state,
    feature_map,
    packed_size,
)

__all__ = [
    "TaylorState",
    "empty_state",
    "feature_map",
    "packed_size",
    "taylor_attention",
    "taylor_attention_at",
    "taylor_attention_step",
]


@overload
def taylor_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    initial_state: TaylorState | None = None,
    return_state: Literal[False] = False,
    backend: str = "auto",
) -> Tensor: ...
@overload
def taylor_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    initial_state: TaylorState | None = None,
    *,
    return_state: Literal[True],
    backend: str = "auto",
) -> tuple[Tensor, TaylorState]: ...
def taylor_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    initial_state: TaylorState | None = None,
    return_state: bool = False,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, TaylorState]:
    """Causal linear attention with phi(q).phi(k) = 1 + s + s^2/2, s = q.k / sqrt(d).

    y_t = phi(q_t) S_t / (phi(q_t).z_t + 1e-12), S_t = sum_j phi(k_j) v_j^T, z_t = sum_j phi(k_j),
    over all j <= t (Based, arXiv 2402.18668, section 4). The scale is applied here.

    Args:
        q, k: (batch, length, heads, d); any length, also 0.
        v: (batch, length, heads, d_v).
        initial_state: the state to go on from; empty if None.
        return_state: also return the state after the last token.
        backend: "auto", "reference" or "triton".

    Returns:
        (batch, length, heads, d_v) in the dtype of v, with the state if asked for.
    """
    run = dispatch.implementation("taylor_attention", backend, q)
    return run(q, k, v, initial_state=initial_state, return_state=return_state)


def taylor_attention_at(q: Tensor, k: Tensor, v: Tensor, positions: Tensor) -> Tensor:
    """`taylor_attention` at a few positions alone, by the closed form, in plain PyTorch.

    q (batch, queries, heads, d) are the queries at ``positions`` (batch, queries), k and v those of
    all tokens. Returns (batch, queries, heads, d_v). What all positions cost is saved; a GPU's
    kernels for all of them are faster still.
    """
    return reference.taylor_attention_at(q, k, v, positions)


def taylor_attention_step(
    q: Tensor, k: Tensor, v: Tensor, state: TaylorState, backend: str = "auto"
) -> tuple[Tensor, TaylorState]:
    """One token of `taylor_attention`: q, k (batch, heads, d), v (batch, heads, d_v).

    Returns the output (batch, heads, d_v) and the new state; ``state`` is not changed.
    """
    return dispatch.implementation("taylor_attention_step", backend, q)(q, k, v, state)
