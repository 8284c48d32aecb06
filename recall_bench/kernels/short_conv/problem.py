"""Timing problems: the short convolution with SiLU."""

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
)
from recall_bench.kernels.short_conv import reference, triton


def problems(ceilings: Ceilings) -> list[Problem]:
    return [
        _conv(ceilings, 32, 2048, 1024, torch.bfloat16),
        *(
            _conv(ceilings, TRAINING_BATCH, length, 256, dtype)
            for dtype in TRAINING_DTYPES
            for length in TRAINING_LENGTHS
        ),
    ]


def _conv(ceilings: Ceilings, batch: int, length: int, width: int, dtype: torch.dtype) -> Problem:
    def sizes(batch: int, length: int, width: int, dtype: torch.dtype) -> list[Tensor]:
        weight = normal(width, 3, dtype=dtype), normal(width, dtype=dtype)
        return [normal(batch, length, width, dtype=dtype), *weight]

    def conv(module: Any) -> Callable[..., Tensor]:
        return lambda x, weight, bias: module.short_conv(x, weight, bias, "silu")

    contenders = [
        Contender(OURS, conv(triton), conv(reference)),
        Contender("recall-bench reference", conv(reference), conv(reference)),
    ]
    elements = batch * length * width
    return Problem(
        f"short_conv with silu, kernel 3, {str(dtype).removeprefix('torch.')}",
        f"({batch},{length},{width})",
        sizes(batch, length, width, dtype),
        contenders,
        {
            "forward": ceilings.floor(2 * dtype.itemsize * elements, 0),
            "forward+backward": ceilings.floor((2 + 3) * dtype.itemsize * elements, 0),
        },
        [sizes(2, 300, 64, kind) for kind in (dtype, torch.float32)],
        graph=batch == TRAINING_BATCH,
        training=batch == TRAINING_BATCH,
    )
