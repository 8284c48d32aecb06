"""Timing problems: Based's linear attention, and one decoding step of it."""

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
from recall_bench.kernels.taylor_attention import TaylorState, packed_size, reference, triton

FEATURE_DIM = 16
SHAPES = ((8, 16, 2048, 64), (8, 16, 2048, 128), (4, 16, 8192, 64), (1, 16, 32768, 64))
"""(batch, heads, length, d_v)."""
LENGTHS = (2048, 4096, 8192, 16384, 32768, 65536)
TRAINING = ((8, 48), (16, 64), (24, 128))
"""(feature_dim, d_v) of the layers that recall tasks train, with one head."""


def problems(ceilings: Ceilings) -> list[Problem]:
    timed = [_taylor(ceilings, *shape) for shape in SHAPES]
    timed += [_taylor(ceilings, 1, 16, length, 64, length) for length in LENGTHS]
    timed += [_taylor_step(ceilings, batch) for batch in (128, 256, 512)]
    timed += [
        _training_taylor(ceilings, length, *sizes, dtype)
        for dtype in TRAINING_DTYPES
        for length in TRAINING_LENGTHS
        for sizes in TRAINING
    ]
    return timed


def _taylor(
    ceilings: Ceilings, B: int, H: int, T: int, dv: int, length: int | None = None
) -> Problem:
    d, chunk, features = FEATURE_DIM, 128, 161
    intra, inter = 2 * chunk, 2 * features * dv
    forward = ceilings.floor(B * H * T * 4 * (d + dv), B * H * T * (intra * (d + dv) + 2 * inter))
    backward = ceilings.floor(
        B * H * T * (8 * d + 6 * dv + 8), B * H * T * (intra * (3 * d + 2 * dv) + 5 * inter)
    )

    def sizes(B: int, H: int, T: int, dtype: torch.dtype) -> list[Tensor]:
        return [normal(B, T, H, n, dtype=dtype) for n in (d, d, dv)]

    exact: Any = reference.taylor_attention
    ours: Any = triton.taylor_attention
    contenders = [Contender(OURS, ours, exact)]
    for name in ("parallel_based", "fused_chunk_based") if length is None else ():
        if theirs := optional_function("fla.ops.based", name):
            function: Any = theirs
            contenders.append(
                Contender(
                    f"fla {name}",
                    lambda q, k, v, f=function: f(q, k, v, scale=d**-0.5, use_norm=True),
                    exact,
                )
            )
    wide = [normal(B, H, T, dv) for _ in range(3)]
    contenders += [
        Contender(f"torch softmax, {name} (d = d_v)", torch_attention(backend), None, wide)
        for name, backend in (("flash", "FLASH_ATTENTION"), ("cuDNN", "CUDNN_ATTENTION"))
    ]
    return Problem(
        "taylor_attention",
        f"({B},{H},{T},{dv})",
        sizes(B, H, T, torch.bfloat16),
        contenders,
        {"forward": forward, "forward+backward": forward + backward},
        [sizes(2, 3, 1000, dtype) for dtype in (torch.bfloat16, torch.float32)],
        length,
    )


def _taylor_step(ceilings: Ceilings, batch: int, dv: int = 64, heads: int = 16) -> Problem:
    d, P = FEATURE_DIM, packed_size(FEATURE_DIM)

    def sizes(batch: int) -> list[Tensor]:
        kv = normal(batch, heads, P, dv, dtype=torch.float32)
        z = 50 + torch.rand(batch, heads, P)
        z[..., 1:] -= 50  # the constant feature dominates, as a count does
        return [*(normal(batch, 1, heads, n, dtype=torch.float32) for n in (d, d, dv)), kv, z]

    def step(module: Any) -> Callable[..., Any]:
        def call(q: Tensor, k: Tensor, v: Tensor, kv: Tensor, z: Tensor) -> tuple[Tensor, ...]:
            state = TaylorState(kv, z)
            y, state = module.taylor_attention_step(q, k, v, state, return_state=True)
            return y, *state

        return call

    inputs = sizes(batch)
    copy = Contender("a copy of the state", lambda *x: x[3].clone(), None)
    ours = Contender(OURS, step(triton), step(reference))
    floor = ceilings.floor(2 * 4 * batch * heads * P * (dv + 1), 0)
    size = f"({batch},{heads},1,{dv})"
    return Problem(
        "taylor_attention_step", size, inputs, [ours, copy], {"step": floor}, [sizes(2)], graph=True
    )


def _training_taylor(ceilings: Ceilings, T: int, d: int, dv: int, dtype: torch.dtype) -> Problem:
    def sizes(B: int) -> list[Tensor]:
        return [normal(B, T, 1, n, dtype=dtype) for n in (d, d, dv)]

    exact: Any = reference.taylor_attention
    ours: Any = triton.taylor_attention
    moved = TRAINING_BATCH * T * dtype.itemsize
    forward = ceilings.floor(moved * 2 * (d + dv), 0)
    return Problem(
        f"taylor_attention, feature_dim {d}, {precision_name(dtype)}",
        f"({TRAINING_BATCH},1,{T},{dv})",
        sizes(TRAINING_BATCH),
        [Contender(OURS, ours, exact)],
        {
            "forward": forward,
            "forward+backward": forward + ceilings.floor(moved * (4 * d + 4 * dv), 0),
        },
        [sizes(3)],
        graph=True,
        tf32=dtype == torch.float32,
        training=True,
    )
