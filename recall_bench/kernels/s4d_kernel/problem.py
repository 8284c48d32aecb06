"""Timing problems: the convolution kernel of a diagonal state space model."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from recall_bench.kernels.plumbing.problem import (
    OURS,
    TRAINING_LENGTHS,
    Ceilings,
    Contender,
    Problem,
    normal,
)
from recall_bench.kernels.s4d_kernel import reference, triton


def problems(ceilings: Ceilings) -> list[Problem]:
    return [_s4d(ceilings, 128, length, 16) for length in TRAINING_LENGTHS]


def _s4d(ceilings: Ceilings, heads: int, length: int, modes: int) -> Problem:
    def sizes() -> list[Tensor]:
        def random(*shape: int) -> Tensor:
            return normal(*shape, dtype=torch.float32)

        steps, pairs = random(heads, 1) - 4, (random(heads, modes, 2) for _ in range(2))
        return [steps, random(heads, modes), 9 * random(heads, modes), *pairs, random(heads)]

    def kernel(module: Any) -> Callable[..., Tensor]:
        return lambda *x: module.s4d_kernel(*x, length)

    exact = kernel(reference)
    parameters = heads * (6 * modes + 2)
    forward = ceilings.floor(4 * (parameters + heads * length), 0)
    return Problem(
        "s4d_kernel, float32",
        f"({heads},{length},{modes})",
        sizes(),
        [Contender(OURS, kernel(triton), exact), Contender("recall-bench reference", exact, exact)],
        {
            "forward": forward,
            "forward+backward": forward + ceilings.floor(4 * (2 * parameters + heads * length), 0),
        },
        [sizes()],
        graph=True,
        training=True,
    )
