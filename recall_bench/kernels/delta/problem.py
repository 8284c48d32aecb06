"""Timing problems: the delta rules, outputs and last state."""

import torch
from torch import Tensor
from torch.nn import functional as F

from recall_bench.kernels.delta import reference
from recall_bench.kernels.plumbing.problem import (
    TRAINING_BATCH,
    TRAINING_DTYPES,
    TRAINING_LENGTHS,
    Ceilings,
    Problem,
    normal,
    recurrence_problem,
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

    tokens = TRAINING_BATCH * length * heads
    decays = {"none": 0, "per head": 1, "per channel": d}[decay]
    given = tokens * (3 * d * dtype.itemsize + 4 * (1 + decays))
    return recurrence_problem(
        f"delta, decay {decay}",
        f"({TRAINING_BATCH},{heads},{length},{d})",
        reference.delta,
        inputs,
        dtype,
        ceilings,
        given,
        returned=4 * tokens * d,
    )
