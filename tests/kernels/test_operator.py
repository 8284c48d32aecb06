"""The convention of operators that carry a state, checked in plain PyTorch and float64."""

from typing import Any

import pytest
import torch
from operator_problems import PROBLEMS, Problem, differentiable, leaves, rebuild
from torch import Tensor

from recall_bench.kernels.plumbing.operator import Shapes

LENGTHS = [0, 1, 2, 17, 65]

each = pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)


def assert_equal(got: Any, expected: Any, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(leaves(got), leaves(expected), rtol=tolerance, atol=tolerance)


def gradients(results: Any, tensors: list[Tensor]) -> tuple[Tensor, ...]:
    """Gradients of the results' sum with fixed random weights."""
    generator = torch.Generator().manual_seed(2)
    outputs = [y for y in leaves(results) if y.requires_grad]
    weights = [torch.randn(y.shape, generator=generator, dtype=y.dtype) for y in outputs]
    return torch.autograd.grad(outputs, tensors, weights, retain_graph=True, materialize_grads=True)


@each
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("stateful", [False, True], ids=["from nothing", "from a state"])
def test_outputs_state_and_gradients_follow_the_recurrence(
    problem: Problem, length: int, stateful: bool
) -> None:
    inputs = problem.inputs(length)
    state = problem.state() if stateful else None
    tensors = [x for x in inputs.values() if isinstance(x, Tensor)]
    tensors += differentiable(state) if stateful else []
    for x in tensors:
        x.requires_grad_()
    output_and_state = problem.operator(*inputs.values(), initial_state=state, return_state=True)
    expected = problem.naive(*inputs.values(), initial_state=state)
    assert_equal(output_and_state, expected)
    alone = problem.operator(*inputs.values(), initial_state=state)
    assert_equal(alone, expected[0])
    if length > 0:
        assert_equal(gradients(output_and_state, tensors), gradients(expected, tensors), 1e-9)
        assert_equal(gradients(alone, tensors), gradients(expected[0], tensors), 1e-9)


@each
@pytest.mark.parametrize("cut", [0, 1, 2, 16, 17])
def test_a_sequence_may_be_cut_anywhere(problem: Problem, cut: int) -> None:
    inputs = problem.inputs(17)
    whole = problem.naive(*inputs.values())
    begin, end = problem.cut(inputs, 0, cut), problem.cut(inputs, cut, 17)
    first, state = problem.operator(*begin.values(), return_state=True)
    second, state = problem.operator(*end.values(), initial_state=state, return_state=True)
    axis = problem.operator.length_axis
    joined = [torch.cat(pair, axis) for pair in zip(leaves(first), leaves(second), strict=True)]
    assert_equal(joined, whole[0])
    assert_equal(state, whole[1])


@each
@pytest.mark.parametrize("length", [0, 1, 5])
def test_the_new_state_is_written_in_place_of_the_old_one(problem: Problem, length: int) -> None:
    inputs, before = problem.inputs(length), problem.state()
    y, expected = problem.naive(*inputs.values(), initial_state=before)
    kept = problem.room(before, length)
    result, state = problem.operator(*inputs.values(), initial_state=kept, state_out=kept)
    assert state is kept
    assert_equal(result, y)
    assert_equal(kept, expected)


@each
@pytest.mark.parametrize("length", [1, 5])
def test_a_state_is_left_alone_where_no_place_for_the_new_one_is_named(
    problem: Problem, length: int
) -> None:
    before = problem.state()
    kept = rebuild(before, [x.clone() for x in leaves(before)])
    _, after = problem.operator(
        *problem.inputs(length).values(), initial_state=before, return_state=True
    )
    assert_equal(before, kept, 0)
    for x in leaves(after):
        x.zero_()
    assert_equal(before, kept, 0)


@each
def test_the_empty_state_is_that_after_no_tokens_and_changes_nothing(problem: Problem) -> None:
    nothing, inputs = problem.inputs(0), problem.inputs(5)
    empty = problem.operator.empty_state(*inputs.values())
    y, state = problem.operator(*nothing.values(), return_state=True)
    assert all(part.numel() == 0 for part in leaves(y))
    assert [(x.shape, x.dtype) for x in leaves(state)] == [
        (x.shape, x.dtype) for x in leaves(empty)
    ]
    assert_equal(state, empty, 0)
    expected = problem.naive(*inputs.values())
    assert_equal(
        problem.operator(*inputs.values(), initial_state=empty, return_state=True), expected
    )


@each
def test_the_dtypes_of_a_state_do_not_depend_on_where_it_began(problem: Problem) -> None:
    inputs = [x.float() if isinstance(x, Tensor) else x for x in problem.inputs(1).values()]
    empty = problem.operator.empty_state(*inputs)
    for initial_state in (None, empty):
        _, state = problem.operator(*inputs, initial_state=initial_state, return_state=True)
        assert [x.dtype for x in leaves(state)] == [x.dtype for x in leaves(empty)]


@each
def test_an_input_of_another_size_is_refused_by_name(problem: Problem) -> None:
    inputs = problem.inputs(5)
    for name, x in inputs.items():
        if not isinstance(x, Tensor):
            continue
        for axis in range(x.dim()):
            if (name, axis) not in problem.free:
                longer = torch.cat([x, x.narrow(axis, 0, 1)], axis)
                changed = inputs | {name: longer}
                with pytest.raises(ValueError, match=rf"^{problem.operator.__name__}: .* shape"):
                    problem.operator(*changed.values())
        with pytest.raises(ValueError, match=rf"^{problem.operator.__name__}: .* shape"):
            problem.operator(*(inputs | {name: x.flatten()[0]}).values())


@each
def test_a_state_of_another_size_is_refused(problem: Problem) -> None:
    inputs, state = problem.inputs(2).values(), problem.state()
    longer = rebuild(state, [torch.cat([x, x]) for x in leaves(state)])
    with pytest.raises(ValueError, match=rf"{problem.operator.__name__}: initial_state"):
        problem.operator(*inputs, initial_state=longer)
    with pytest.raises(ValueError, match="state_out must have room for a state of shape"):
        problem.operator(*inputs, state_out=longer)
    with pytest.raises(ValueError, match=r"initial_state must .*Got a str\."):
        problem.operator(*inputs, initial_state="the last one")


@each
def test_every_input_may_be_given_by_name(problem: Problem) -> None:
    inputs, state = problem.inputs(2), problem.state()
    for start in (None, state):
        named = problem.operator(**inputs, initial_state=start, return_state=True)
        given = problem.operator(*inputs.values(), initial_state=start, return_state=True)
        assert_equal(named, given, 0)
    assert_equal(
        problem.operator.empty_state(**inputs), problem.operator.empty_state(*inputs.values()), 0
    )
    with pytest.raises(TypeError, match=f"missing .*'{next(iter(inputs))}'"):
        problem.operator(**dict(list(inputs.items())[1:]))


@each
def test_shapes_propagate_on_the_meta_device(problem: Problem) -> None:
    given = [x.to("meta") if isinstance(x, Tensor) else x for x in problem.inputs(5).values()]
    y, state = problem.operator(*given, return_state=True)
    expected = problem.naive(*problem.inputs(5).values())
    assert [x.shape for x in leaves((y, state))] == [x.shape for x in leaves(expected)]


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # of PyTorch's own modules
@pytest.mark.parametrize("name", ["attention", "taylor_attention"])  # a dict, a named tuple
def test_a_step_compiles_into_one_graph(name: str) -> None:
    problem = next(problem for problem in PROBLEMS if problem.name == name)

    def step(*inputs: Any) -> Any:
        return problem.operator(*inputs, initial_state=state, return_state=True)

    torch.compiler.reset()  # the compiler limits how often it compiles these lines
    state, inputs = problem.state(), problem.inputs(1).values()
    compiled = torch.compile(step, backend="eager", fullgraph=True)
    assert_equal(compiled(*inputs), step(*inputs))


def test_the_sizes_of_axes_and_their_number_are_named_in_the_error() -> None:
    sizes = Shapes("op")
    sizes.check("q", torch.zeros(2, 5, 3), "batch length d")
    with pytest.raises(
        ValueError, match=r"^op: k must have shape \(batch 2, length 5, e\)\. Got \(2, 4, 3\)\.$"
    ):
        sizes.check("k", torch.zeros(2, 4, 3), "batch length e")
    with pytest.raises(ValueError, match=r"must have shape \(d 3, 2\)\. Got \(3, 1\)"):
        sizes.check("pairs", torch.zeros(3, 1), "d 2")
    sizes.check("v", torch.zeros(2, 7, 7, 5), "batch … length")
    sizes.check("v", torch.zeros(2, 5), "batch … length")
    for shape in [(2, 7, 4), (2,)]:
        with pytest.raises(ValueError, match=r"must have shape \(batch 2, …, length 5\)"):
            sizes.check("v", torch.zeros(shape), "batch … length")
