"""Timing problems: Mamba's scan beside mamba-ssm's."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from recall_bench.kernels.plumbing.problem import (
    OURS,
    TRAINING_BATCH,
    TRAINING_LENGTHS,
    Ceilings,
    Contender,
    Problem,
    normal,
    optional_function,
)
from recall_bench.kernels.selective_scan import reference, triton

MAMBA_SSM = "recall_bench.kernels.selective_scan.mamba_ssm"


def problems(ceilings: Ceilings) -> list[Problem]:
    return [
        _scan(ceilings, 32, 1024, 512, 16),
        *(_scan(ceilings, TRAINING_BATCH, length, 256, 16) for length in TRAINING_LENGTHS),
    ]


def _scan(ceilings: Ceilings, batch: int, length: int, width: int, n: int) -> Problem:
    def sizes(batch: int, length: int, width: int, n: int) -> list[Tensor]:
        u, delta = (normal(batch, length, width, dtype=torch.float32) for _ in range(2))
        B, C = (normal(batch, length, n, dtype=torch.float32) for _ in range(2))
        return [u, delta, -torch.rand(width, n) - 0.5, B, C]

    def scan(module: Any) -> Callable[..., Tensor]:
        return lambda u, delta, A, B, C: module.selective_scan(
            u, delta, A, B, C, delta_softplus=True
        )

    contenders = [Contender(OURS, scan(triton), scan(reference))]
    if mamba := optional_function(MAMBA_SSM, "selective_scan"):
        theirs: Any = mamba  # its time includes the copies into its layout

        def packaged(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
            y: Tensor = theirs(u, delta, A, B, C, delta_softplus=True)
            return y

        contenders.append(Contender("mamba-ssm", packaged, scan(reference)))
    elements = batch * length * width
    return Problem(
        "selective_scan, float32",
        f"({batch},{length},{width},{n})",
        sizes(batch, length, width, n),
        contenders,
        {
            "forward": ceilings.floor(12 * elements, 0),
            "forward+backward": ceilings.floor((12 + 20) * elements, 0),
        },
        [sizes(2, 200, 64, n)],
        graph=batch == TRAINING_BATCH,
        training=batch == TRAINING_BATCH,
    )
