"""Timing problems: the gated outer-product recurrence, outputs and last state."""

import torch
from torch import Tensor

from recall_bench.kernels.gated_linear import reference
from recall_bench.kernels.plumbing.problem import (
    TRAINING_BATCH,
    TRAINING_DTYPES,
    TRAINING_LENGTHS,
    Ceilings,
    Problem,
    normal,
    recurrence_problem,
)

DECAYS = ("none", "per token", "per channel")


def problems(ceilings: Ceilings) -> list[Problem]:
    return [
        _gated_linear(ceilings, decay, length, dtype)
        for decay in DECAYS
        for dtype in TRAINING_DTYPES
        for length in TRAINING_LENGTHS
    ]


def _gated_linear(
    ceilings: Ceilings, decay: str, length: int, dtype: torch.dtype, heads: int = 2, d: int = 32
) -> Problem:
    d_v = 2 * d

    def inputs(batch: int) -> list[Tensor]:
        sizes = batch, length, heads
        q, k, v = (normal(*sizes, size, dtype=dtype) for size in (d, d, d_v))
        if decay == "none":
            return [q, k, v]
        shape = sizes if decay == "per token" else (*sizes, d)
        return [q, k, v, -normal(*shape, dtype=torch.float32).exp() / 16]

    decays = {"none": 0, "per token": 1, "per channel": d}[decay]
    tokens = TRAINING_BATCH * length * heads
    given = tokens * ((2 * d + d_v) * dtype.itemsize + 4 * decays)
    return recurrence_problem(
        f"gated_linear, decay {decay}",
        f"({TRAINING_BATCH},{heads},{length},{d},{d_v})",
        reference.gated_linear,
        inputs,
        dtype,
        ceilings,
        given,
        returned=4 * tokens * d_v,
    )
