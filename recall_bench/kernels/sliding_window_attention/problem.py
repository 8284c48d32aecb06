"""Timing problems: sliding-window attention beside torch's and flash-attn's."""

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
    optional_function,
    precision_name,
    torch_attention,
)
from recall_bench.kernels.sliding_window_attention import reference, triton

WINDOW = 64
SHAPE = (8, 16, 2048, 64)
"""(batch, heads, length, head dimension)."""
TRAINING_WINDOWS = (8, 64, 1024)


def problems(ceilings: Ceilings) -> list[Problem]:
    return [
        _window(ceilings),
        *(
            _training_window(ceilings, length, window, dtype)
            for dtype in TRAINING_DTYPES
            for length in TRAINING_LENGTHS
            for window in TRAINING_WINDOWS
        ),
    ]


def _window(ceilings: Ceilings) -> Problem:
    B, H, T, d = SHAPE

    def windowed(module: Any) -> Callable[..., Tensor]:
        return lambda q, k, v: module.sliding_window_attention(q, k, v, WINDOW)

    def sizes(B: int, T: int, dtype: torch.dtype) -> list[Tensor]:
        return [normal(B, T, H, d, dtype=dtype) for _ in range(3)]

    contenders = [Contender(OURS, windowed(triton), windowed(reference))]
    if varlen := optional_function("torch.nn.attention.varlen", "varlen_attn"):
        attend = varlen

        def packed(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            batch, length = q.shape[:2]
            ends = torch.arange(batch + 1, dtype=torch.int32, device=q.device) * length
            flat = (x.flatten(0, 1) for x in (q, k, v))
            y = attend(*flat, ends, ends, length, length, window_size=(WINDOW - 1, 0))
            return y.view(q.shape)

        contenders.append(Contender("torch varlen_attn", packed, windowed(reference)))
    if flash := optional_function("flash_attn", "flash_attn_func"):
        flash_attention: Any = flash
        contenders.append(
            Contender(
                "flash-attn",
                lambda q, k, v: flash_attention(q, k, v, causal=True, window_size=(WINDOW - 1, 0)),
                windowed(reference),
            )
        )
    forward = ceilings.floor(8 * B * T * H * d, 4 * B * T * H * WINDOW * d)
    backward = ceilings.floor(16 * B * T * H * d, 10 * B * T * H * WINDOW * d)
    return Problem(
        f"sliding_window_attention, window {WINDOW}",
        f"({B},{H},{T},{d})",
        sizes(B, T, torch.bfloat16),
        contenders,
        {"forward": forward, "forward+backward": forward + backward},
        [sizes(2, 300, torch.bfloat16), sizes(2, 300, torch.float32)],
    )


def _training_window(
    ceilings: Ceilings, T: int, window: int, dtype: torch.dtype, d: int = 128
) -> Problem:
    def windowed(module: Any) -> Callable[..., Tensor]:
        return lambda q, k, v: module.sliding_window_attention(q, k, v, window)

    def sizes(B: int) -> list[Tensor]:
        return [normal(B, T, 1, d, dtype=dtype) for _ in range(3)]

    contenders = [Contender(OURS, windowed(triton), windowed(reference))]
    if window >= T:
        names = ("CUDNN_ATTENTION",) if dtype == torch.bfloat16 else ("EFFICIENT_ATTENTION", "MATH")
        contenders += [
            Contender(f"torch softmax, {name.split('_')[0].lower()}", _heads_second(name), None)
            for name in names
        ]
    moved = TRAINING_BATCH * T * d * dtype.itemsize
    forward = ceilings.floor(4 * moved, 0)
    return Problem(
        f"sliding_window_attention, window {window}, {precision_name(dtype)}",
        f"({TRAINING_BATCH},1,{T},{d})",
        sizes(TRAINING_BATCH),
        contenders,
        {"forward": forward, "forward+backward": forward + ceilings.floor(8 * moved, 0)},
        [sizes(3)],
        graph=True,
        tf32=dtype == torch.float32,
        training=True,
    )


def _heads_second(backend: str) -> Callable[..., Tensor]:
    """torch's attention by one of its backends, for tensors (B, T, H, d)."""
    attention = torch_attention(backend)
    return lambda *x: attention(*(y.transpose(1, 2) for y in x)).transpose(1, 2)
