"""Every Triton form of an operator that carries a state, against the recurrence in float64."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from comparing import DEVICE, assert_close, check, poisoned_memory
from operator_problems import PROBLEMS, Problem, differentiable, leaves, rebuild
from torch import Tensor

pytest.importorskip("triton")

from recall_bench.kernels.plumbing import dispatch

LENGTHS = {"from nothing": (1, 65), "from a state": (1, 17)}

CASES = [
    pytest.param(problem, start, length, id=f"{problem.name}, {start}, {length}")
    for problem in PROBLEMS
    for start in problem.triton
    for length in LENGTHS[start]
]


@pytest.fixture(autouse=True)
def on_the_kernels(monkeypatch):
    monkeypatch.setenv(dispatch.VARIABLE, "triton")
    dispatch.reset()


def narrow(x: Any) -> Any:
    """A tensor in float32 or complex64 on the test's device; other values unchanged."""
    if not isinstance(x, Tensor):
        return x
    return x.to(DEVICE, torch.complex64 if x.is_complex() else torch.float32)


@pytest.mark.parametrize(("problem", "start", "length"), CASES)
def test_outputs_state_and_gradients_follow_the_recurrence(
    problem: Problem, start: str, length: int
) -> None:
    inputs = problem.inputs(length)
    state = problem.state() if start == "from a state" else None
    tensors = {name: x for name, x in inputs.items() if isinstance(x, Tensor)}
    states = [] if state is None else leaves(state)

    def flat(function: Callable[..., Any]) -> Callable[..., tuple[Tensor, ...]]:
        def call(*given: Tensor) -> tuple[Tensor, ...]:
            arguments = inputs | dict(zip(tensors, given, strict=False))
            before = rebuild(state, list(given[len(tensors) :])) if states else None
            return tuple(differentiable(function(*arguments.values(), initial_state=before)))

        return call

    def operator(*arguments: Any, initial_state: Any) -> Any:
        return problem.operator(*arguments, initial_state=initial_state, return_state=True)

    names = [*tensors, *(f"state {i}" for i in range(len(states)))]
    given = [narrow(x) for x in (*tensors.values(), *states)]
    check(flat(operator), flat(problem.naive), given, 2e-5, names)
    if length > 1:  # a single token may run on the reference
        assert "triton" in "+".join(dispatch.used().values())


RESUMING = [problem for problem in PROBLEMS if "from a state" in problem.triton]


@pytest.mark.parametrize("problem", RESUMING, ids=lambda problem: problem.name)
@torch.no_grad()
def test_decoding_in_place_follows_the_recurrence(problem: Problem) -> None:
    inputs, before = problem.inputs(4), problem.state()
    y, expected = problem.naive(*inputs.values(), initial_state=before)
    state = rebuild(before, [narrow(x) for x in leaves(before)])
    outputs = []
    for t in range(4):
        token = problem.cut(inputs, t, t + 1).values()
        with poisoned_memory():
            results, _ = problem.operator(
                *map(narrow, token),
                initial_state=state,
                state_out=state,
            )
        outputs.append(leaves(results))
    axis = problem.operator.length_axis
    for got, wanted in zip(zip(*outputs, strict=True), leaves(y), strict=True):
        assert_close("output", torch.cat(got, axis), wanted.to(DEVICE), 1e-5)
    for got, wanted in zip(leaves(state), leaves(expected), strict=True):
        assert_close("state", got, wanted.to(DEVICE), 1e-5)
