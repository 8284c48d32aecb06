"""Timing problems: H3's outer products and their contraction."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from recall_bench.kernels.outer import reference, triton
from recall_bench.kernels.plumbing.problem import (
    OURS,
    TRAINING_BATCH,
    TRAINING_LENGTHS,
    Ceilings,
    Contender,
    Problem,
    normal,
)


def problems(ceilings: Ceilings) -> list[Problem]:
    return [_outer(ceilings, TRAINING_BATCH, length, 64, 2) for length in TRAINING_LENGTHS]


def _outer(ceilings: Ceilings, batch: int, length: int, heads: int, p: int) -> Problem:
    """Both operations, each of which goes through memory once in each direction."""

    def sizes(batch: int, length: int) -> list[Tensor]:
        q, v = (normal(batch, length, heads, p, dtype=torch.float32) for _ in range(2))
        k = normal(heads, p, batch, length, dtype=torch.float32)
        return [q, k.permute(2, 3, 0, 1), v]  # as projections and a long convolution give them

    def both(module: Any) -> Callable[..., Tensor]:
        return lambda q, k, v: module.contract(q, module.outer(k, v))

    exact = both(reference)
    moved = 4 * batch * length * heads * p
    forward = ceilings.floor((4 + 2 * p) * moved, 0)
    return Problem(
        "outer and contract, float32",
        f"({batch},{length},{heads},{p})",
        sizes(batch, length),
        [Contender(OURS, both(triton), exact), Contender("recall-bench reference", exact, exact)],
        {
            "forward": forward,
            "forward+backward": forward + ceilings.floor((7 + 3 * p) * moved, 0),
        },
        [sizes(3, length), sizes(3, 50)],
        graph=True,
        training=True,
    )
