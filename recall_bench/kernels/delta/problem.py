"""Timing problems: the delta rules, outputs and last state."""

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from recall_bench.kernels.delta import reference
from recall_bench.kernels.plumbing.problem import (
    OURS,
    TRAINING_BATCH,
    TRAINING_DTYPES,
    TRAINING_LENGTHS,
    Ceilings,
    Contender,
    Problem,
    normal,
    precision_name,
)

DECAYS = ("none", "per head", "per channel")


def problems(ceilings: Ceilings) -> list[Problem]:
    return [
        _delta(ceilings, decay, length, dtype)
        for decay in DECAYS
        for dtype in TRAINING_DTYPES
        for length in TRAINING_LENGTHS
    ]


def _delta(
    ceilings: Ceilings, decay: str, length: int, dtype: torch.dtype, heads: int = 2, d: int = 64
) -> Problem:
    def inputs(batch: int) -> list[Tensor]:
        sizes = batch, length, heads
        q, k, v = (normal(*sizes, d, dtype=dtype) for _ in range(3))
        tensors = [q, F.normalize(k, dim=-1), v, torch.rand(sizes)]
        if decay == "none":
            return tensors
        return [*tensors, -torch.rand(sizes if decay == "per head" else (*sizes, d))]

    with_state = partial(reference.delta, return_state=True)
    tokens = TRAINING_BATCH * length * heads
    decays = {"none": 0, "per head": 1, "per channel": d}[decay]
    given = tokens * (3 * d * dtype.itemsize + 4 * (1 + decays))
    forward = ceilings.floor(given + 4 * tokens * d, 0)
    return Problem(
        f"delta, decay {decay}, {precision_name(dtype)}",
        f"({TRAINING_BATCH},{heads},{length},{d})",
        inputs(TRAINING_BATCH),
        [Contender(OURS, with_state, with_state)],
        {
            "forward": forward,
            "forward+backward": forward + ceilings.floor(2 * given + 4 * tokens * d, 0),
        },
        [inputs(3)],
        graph=True,
        tf32=dtype == torch.float32,
        training=True,
    )
