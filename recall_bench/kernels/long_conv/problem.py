"""Timing problems: the long convolution beside torch's FFT."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from recall_bench.kernels.long_conv import reference, triton
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
    return [_long_conv(ceilings, TRAINING_BATCH, length, 128) for length in TRAINING_LENGTHS]


def _long_conv(ceilings: Ceilings, batch: int, length: int, width: int) -> Problem:
    def sizes(batch: int) -> list[Tensor]:
        shapes = (batch, length, width), (width, length)
        return [normal(*shape, dtype=torch.float32) for shape in shapes]

    def conv(module: Any) -> Callable[..., Tensor]:
        return lambda x, kernel: module.long_conv(x.mT, kernel).mT

    exact = conv(reference)
    moved = 4 * batch * length * width
    forward = ceilings.floor(2 * moved, 0)
    return Problem(
        "long_conv, TF32",
        f"({batch},{length},{width})",
        sizes(batch),
        [Contender(OURS, conv(triton), exact), Contender("torch, by the FFT", exact, exact)],
        {"forward": forward, "forward+backward": forward + ceilings.floor(3 * moved, 0)},
        [sizes(3)],
        graph=True,
        tf32=True,
        training=True,
    )
