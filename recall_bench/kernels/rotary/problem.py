"""Timing problems: rotary position embedding."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from recall_bench.kernels.plumbing.problem import (
    OURS,
    TRAINING_BATCH,
    TRAINING_DTYPES,
    Ceilings,
    Contender,
    Problem,
    normal,
)
from recall_bench.kernels.rotary import reference, triton


def problems(ceilings: Ceilings) -> list[Problem]:
    return [
        _rotary(ceilings, 128, heads, 768 // heads, dtype)
        for dtype in TRAINING_DTYPES
        for heads in (1, 12)
    ]


def _rotary(ceilings: Ceilings, length: int, heads: int, d: int, dtype: torch.dtype) -> Problem:
    def turn(module: Any) -> Callable[..., Tensor]:
        return lambda x: module.rotary(x, torch.arange(x.shape[1], device=x.device))

    def sizes(batch: int, length: int) -> list[Tensor]:
        return [normal(batch, length, 3, heads, d, dtype=dtype)[:, :, 0]]  # as queries come

    exact = turn(reference)
    moved = TRAINING_BATCH * length * heads * d * dtype.itemsize
    return Problem(
        f"rotary, {str(dtype).removeprefix('torch.')}",
        f"({TRAINING_BATCH},{length},{heads},{d})",
        sizes(TRAINING_BATCH, length),
        [
            Contender(OURS, turn(triton), exact),
            Contender("recall-bench reference", exact, exact),
        ],
        {
            "forward": ceilings.floor(2 * moved, 0),
            "forward+backward": ceilings.floor(4 * moved, 0),
        },
        [sizes(3, length), sizes(1, 4097)],
        graph=True,
        training=True,
    )
