"""The types of an operator's `problem.py`, which says what `recall-bench bench kernels` times.

Such a module defines ``problems(ceilings) -> list[Problem]`` and draws its tensors on PyTorch's
default device. Nothing imports it but the benchmark.
"""

import importlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

OURS = "recall-bench"
TRAINING_BATCH = 256
TRAINING_LENGTHS = (64, 128, 256)
TRAINING_DTYPES = (torch.bfloat16, torch.float32)


class Ceilings(NamedTuple):
    """The device's speeds, measured in this process."""

    bytes_per_second: float
    operations_per_second: float

    def floor(self, moved: float, operations: float) -> float:
        """Milliseconds below which no kernel can go."""
        return 1e3 * max(moved / self.bytes_per_second, operations / self.operations_per_second)


class Contender(NamedTuple):
    """One implementation of an operation; ``exact`` is None where it computes something else."""

    name: str
    function: Callable[..., Any]
    exact: Callable[..., Any] | None
    inputs: Sequence[Tensor] | None = None
    """Its own inputs, where the problem's do not suit it."""


class Problem(NamedTuple):
    """Inputs of an operation at one size, and the floors of its passes in milliseconds."""

    operation: str
    size: str
    inputs: Sequence[Tensor]
    contenders: Sequence[Contender]
    floors: dict[str, float | None]
    proof: Sequence[Sequence[Tensor]]
    """Smaller inputs for the proofs: ours takes all, others the first, of the dtype timed."""
    length: int | None = None
    graph: bool = False
    """Whether to time replays of a CUDA graph, as decoding and training run, not single calls."""
    tf32: bool = False
    """Whether float32 inputs may take single TF32 products."""
    training: bool = False
    """Whether it belongs in the table of training shapes."""


def normal(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """Standard normal numbers on the default device."""
    return torch.randn(shape, dtype=dtype)


def optional_function(module: str, name: str) -> Callable[..., Any] | None:
    """A function of a package that may be missing; None where it is."""
    try:
        return getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None


def recurrence_problem(
    title: str,
    size: str,
    function: Callable[..., Any],
    inputs: Callable[[int], list[Tensor]],
    dtype: torch.dtype,
    ceilings: Ceilings,
    given: float,
    returned: float,
) -> Problem:
    """A training shape of an operator that has a reference alone: its output and last state.

    ``inputs`` draws the tensors of a batch size; ``given`` and ``returned`` are the bytes of the
    inputs and of the output at `TRAINING_BATCH`.
    """
    with_state = partial(function, return_state=True)
    forward = ceilings.floor(given + returned, 0)
    return Problem(
        f"{title}, {precision_name(dtype)}",
        size,
        inputs(TRAINING_BATCH),
        [Contender(OURS, with_state, with_state)],
        {
            "forward": forward,
            "forward+backward": forward + ceilings.floor(2 * given + returned, 0),
        },
        [inputs(3)],
        graph=True,
        tf32=dtype == torch.float32,
        training=True,
    )


def precision_name(dtype: torch.dtype) -> str:
    """The precision of a training shape's products; float32 inputs take single TF32 products."""
    return "bf16" if dtype == torch.bfloat16 else "TF32"


def torch_attention(backend: str) -> Callable[..., Tensor]:
    """torch's attention by one of its backends: (B, H, T, d)."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with sdpa_kernel(getattr(SDPBackend, backend)):
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    return attention
