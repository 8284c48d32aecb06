"""Comparisons of kernels with a float64 reference, and their number in a test."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

DEVICE = "cuda" if torch.cuda.is_available() and "TRITON_INTERPRET" not in os.environ else "cpu"
TOLERANCE = {torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 1e-2}

comparisons = 0


def on_gpu(test: Any) -> Any:
    """Mark a test or a class of tests that needs a CUDA device."""
    return pytest.mark.gpu(pytest.mark.skipif(DEVICE != "cuda", reason="needs a CUDA device")(test))


def assert_close(name: str, got: Tensor, expected: Tensor, tolerance: float) -> None:
    """|got - expected| / |expected| (Euclidean norms) stays below ``tolerance``; NaN never does.

    If ``expected`` is only rounding, below a millionth of a tensor of ones, its norm counts as that
    of the ones.
    """
    global comparisons
    comparisons += 1
    assert got.shape == expected.shape, f"{name}: {tuple(got.shape)}, not {tuple(expected.shape)}"
    if expected.is_complex():
        got, expected = torch.view_as_real(got), torch.view_as_real(expected)
    norm, of_ones = expected.double().norm(), max(1, expected.numel()) ** 0.5
    norm = torch.where(norm > 1e-6 * of_ones, norm, of_ones)
    error = (got.double() - expected.double()).norm() / norm
    assert error < tolerance, f"{name}: relative error {error:.2e}, allowed {tolerance:.0e}"


@contextmanager
def poisoned_memory() -> Iterator[None]:
    """Fill new tensors with NaN, so that a test notices unwritten elements."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def check(
    kernel: Callable[..., Any],
    reference: Callable[..., Any],
    inputs: Sequence[Tensor | None],
    tolerance: float,
    names: Sequence[str],
) -> None:
    """Compare outputs and every input's gradient with ``reference`` on the same values in float64.

    Both take the inputs and return a tensor or a tuple of tensors.
    """
    generator = torch.Generator().manual_seed(1)
    ours = [None if x is None else x.detach().requires_grad_() for x in inputs]
    exact = [None if x is None else _exact(x).requires_grad_() for x in inputs]
    wanted = _tuple(reference(*exact))
    weights = [torch.randn(x.shape, generator=generator).to(x) for x in wanted]
    with poisoned_memory():
        outputs = _tuple(kernel(*ours))
        gradients = torch.autograd.grad(
            outputs,
            [x for x in ours if x is not None],
            [w.to(y.dtype) for w, y in zip(weights, outputs, strict=True)],
        )
    for i, (got, expected) in enumerate(zip(outputs, wanted, strict=True)):
        assert_close(f"output {i}", got, expected, tolerance)
    wanted_gradients = torch.autograd.grad(
        wanted,
        [x for x in exact if x is not None],
        [_exact(w.to(y.dtype)) for w, y in zip(weights, outputs, strict=True)],
    )
    given = [name for name, x in zip(names, inputs, strict=True) if x is not None]
    for name, got, expected in zip(given, gradients, wanted_gradients, strict=True):
        assert_close(f"gradient of {name}", got, expected, tolerance)


def random(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal numbers, the same on every device."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return values.to(DEVICE, dtype)


def draw_positions(B: int, Q: int, T: int) -> Tensor:
    """Q of T positions, unordered; in the first sequence the second half repeats the first."""
    drawn = torch.randint(0, max(T, 1), (B, Q), generator=torch.Generator().manual_seed(2))
    drawn[:1, Q // 2 :] = 0
    return drawn.to(DEVICE)


def check_replay(step: Callable[[], Any], positions: Tensor, T: int, names: Sequence[str]) -> None:
    """Check that a CUDA graph of ``step`` follows a change of ``positions``, which stay below T."""
    check_replay_after(lambda: positions.copy_((positions + 37) % T), step, names)


def check_replay_after(
    change: Callable[[], Any], step: Callable[[], Any], names: Sequence[str]
) -> None:
    """Check that a CUDA graph of ``step`` follows ``change``, which changes its inputs."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        replayed = step()
    change()
    with poisoned_memory():
        graph.replay()
    for name, got, expected in zip(names, replayed, step(), strict=True):
        assert_close(name, got, expected, 1e-30)


def transposed(x: Tensor) -> Tensor:
    """The same values (B, T, H, d) laid out as (B, H, T, d)."""
    return x.transpose(1, 2).contiguous().transpose(1, 2)


def _exact(x: Tensor) -> Tensor:
    """x in float64, or in complex numbers of that precision."""
    return x.detach().to(torch.promote_types(x.dtype, torch.float64))


def _tuple(outputs: Any) -> tuple[Tensor, ...]:
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
