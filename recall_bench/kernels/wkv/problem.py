"""Timing problems: RWKV-5's recurrence, outputs and last state."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

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
from recall_bench.kernels.wkv import reference, triton


def problems(ceilings: Ceilings) -> list[Problem]:
    return [
        _wkv(ceilings, length, dtype) for dtype in TRAINING_DTYPES for length in TRAINING_LENGTHS
    ]


def _wkv(
    ceilings: Ceilings, length: int, dtype: torch.dtype, heads: int = 2, d: int = 64
) -> Problem:
    def sizes(batch: int) -> list[Tensor]:
        rates = -torch.linspace(-6, -1, heads * d).exp().view(heads, d)
        bonus = normal(heads, d, dtype=torch.float32)
        return [*(normal(batch, length, heads, d, dtype=dtype) for _ in range(3)), rates, bonus]

    def with_state(module: Any) -> Callable[..., tuple[Tensor, Tensor]]:
        return lambda *inputs: module.wkv(*inputs, return_state=True)

    exact = with_state(reference)
    elements = TRAINING_BATCH * length * heads * d
    forward = ceilings.floor((3 * dtype.itemsize + 4) * elements, 0)
    return Problem(
        f"wkv, {precision_name(dtype)}",
        f"({TRAINING_BATCH},{heads},{length},{d})",
        sizes(TRAINING_BATCH),
        [
            Contender(OURS, with_state(triton), exact),
            Contender("recall-bench reference", exact, exact),
        ],
        {
            "forward": forward,
            "forward+backward": forward + ceilings.floor((6 * dtype.itemsize + 4) * elements, 0),
        },
        [sizes(3)],
        graph=True,
        tf32=dtype == torch.float32,
        training=True,
    )
