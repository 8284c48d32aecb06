"""Timing problems: the gate of a SwiGLU layer."""

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
from recall_bench.kernels.swiglu import reference, triton


def problems(ceilings: Ceilings) -> list[Problem]:
    return [_swiglu(ceilings, 128, 2048, dtype) for dtype in TRAINING_DTYPES]


def _swiglu(ceilings: Ceilings, length: int, hidden: int, dtype: torch.dtype) -> Problem:
    def sizes(batch: int, hidden: int) -> list[Tensor]:
        return [normal(batch, length, 2 * hidden, dtype=dtype)]

    exact = reference.swiglu
    moved = TRAINING_BATCH * length * hidden * dtype.itemsize
    return Problem(
        f"swiglu, {str(dtype).removeprefix('torch.')}",
        f"({TRAINING_BATCH},{length},{2 * hidden})",
        sizes(TRAINING_BATCH, hidden),
        [
            Contender(OURS, triton.swiglu, exact),
            Contender("recall-bench reference", exact, exact),
        ],
        {
            "forward": ceilings.floor(3 * moved, 0),
            "forward+backward": ceilings.floor((3 + 5) * moved, 0),
        },
        [sizes(3, hidden), sizes(3, 100)],
        graph=True,
        training=True,
    )
