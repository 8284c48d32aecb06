"""Timing problems: attention of the labelled positions of recall tasks."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from recall_bench.kernels.attention_at import reference, triton
from recall_bench.kernels.plumbing.problem import (
    OURS,
    TRAINING_BATCH,
    TRAINING_DTYPES,
    Ceilings,
    Contender,
    Problem,
    normal,
    precision_name,
)

TRAINING = ((4, 64), (8, 128), (64, 256))
"""(queries, length) of the segments whose labelled positions attention answers."""


def problems(ceilings: Ceilings) -> list[Problem]:
    return [
        _attention_at(ceilings, *sizes, dtype) for dtype in TRAINING_DTYPES for sizes in TRAINING
    ]


def _attention_at(ceilings: Ceilings, Q: int, T: int, dtype: torch.dtype, d: int = 128) -> Problem:
    positions = torch.randint(T, (TRAINING_BATCH, Q))

    def attend(module: Any) -> Callable[..., Tensor]:
        return lambda q, kv: module.attention_at(q, kv, positions[: len(q)])

    def sizes(B: int) -> list[Tensor]:
        return [normal(B, Q, 1, d, dtype=dtype), normal(B, T, 2, 1, d, dtype=dtype)]

    exact = attend(reference)
    row, products = TRAINING_BATCH * d * dtype.itemsize, 2 * TRAINING_BATCH * Q * T * d
    forward = ceilings.floor(row * (2 * T + 2 * Q), 2 * products)
    backward = ceilings.floor(row * (4 * T + 4 * Q), 5 * products)
    return Problem(
        f"attention_at, {Q} queries, {precision_name(dtype)}",
        f"({TRAINING_BATCH},1,{T},{d})",
        sizes(TRAINING_BATCH),
        [
            Contender(OURS, attend(triton), exact),
            Contender("torch softmax, with a mask", exact, exact),
        ],
        {"forward": forward, "forward+backward": forward + backward},
        [sizes(3)],
        graph=True,
        tf32=dtype == torch.float32,
        training=True,
    )
