import pytest
import torch
from comparing import TOLERANCE, assert_close, check, on_gpu, poisoned_memory, random

pytest.importorskip("triton")

from recall_bench.kernels.selective_scan import reference, triton

NAMES = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias", "initial_state")


def inputs(batch, length, width, n, dtype=torch.float32, *, full=True):
    u, delta = (random(batch, length, width, seed=i, dtype=dtype) for i in range(2))
    A = -random(width, n, seed=2).exp()
    B, C = (random(batch, length, n, seed=i, dtype=dtype) for i in (3, 4))
    if not full:
        return [u, delta.abs() / 10, A, B, C, None, None, None, None]
    D, bias = random(width, seed=5), random(width, seed=6) - 2
    z = random(batch, length, width, seed=7, dtype=dtype)
    return [u, delta / 2, A, B, C, D, z, bias, random(batch, width, n, seed=8)]


def run(module, softplus, *tensors):
    *rest, initial = tensors
    return module.selective_scan(*rest, softplus, initial_state=initial, return_state=True)


def compare(tensors, dtype, *, softplus):
    check(
        lambda *x: run(triton, softplus, *x),
        lambda *x: run(reference, softplus, *x),
        tensors,
        TOLERANCE[dtype],
        NAMES,
    )


def compare_step(batch, width, n, dtype):
    *tensors, state = inputs(batch, 1, width, n, dtype)

    def step(module, initial_state, *given):
        return module.selective_scan_step(
            *given, True, initial_state=initial_state, return_state=True
        )

    with poisoned_memory(), torch.no_grad():
        y, new = step(triton, state, *tensors)
    exact = step(reference, *(x.double() for x in (state, *tensors)))
    assert_close("y", y, exact[0], TOLERANCE[dtype])
    assert_close("state", new, exact[1], TOLERANCE[dtype])


def test_required_inputs_alone_matches_the_reference():
    compare(inputs(2, 18, 2, 2, full=False), torch.float32, softplus=False)


def test_sizes_that_need_padding_match_the_reference():
    compare(inputs(1, 5, 9, 3), torch.float32, softplus=True)


def test_bfloat16_matches_the_reference():
    compare(inputs(1, 20, 3, 4, torch.bfloat16), torch.bfloat16, softplus=True)


def test_slices_of_one_projection_match_the_reference():
    tensors = inputs(1, 6, 4, 4)
    tensors[3], tensors[4] = torch.cat(tensors[3:5], -1).split(4, -1)
    tensors[0] = tensors[0].transpose(1, 2).contiguous().transpose(1, 2)
    compare(tensors, torch.float32, softplus=True)


PASSES = [
    (8, triton.Pass(4, 1), triton.Pass(4, 2)),  # two chunks per span, two warps per program
    (8, triton.Pass(4, 2), triton.Pass(8, 1)),
    (4, triton.Pass(2, 4), triton.Pass(4, 4)),
]


@pytest.mark.parametrize(("span", "forward", "backward"), PASSES)
def test_passes_of_other_shapes_match_the_reference(monkeypatch, span, forward, backward):
    monkeypatch.setattr(triton, "SPAN", span)
    monkeypatch.setattr(triton, "FORWARD", forward)
    monkeypatch.setattr(triton, "BACKWARD", backward)
    for length, width in ((1, 3), (22, 70)):
        compare(inputs(1, length, width, 4), torch.float32, softplus=True)
    compare(inputs(1, 8, 128, 4, full=False), torch.float32, softplus=False)


@pytest.mark.parametrize(("batch", "length"), [(0, 5), (2, 0)])
def test_an_empty_problem_hands_the_state_through(batch, length):
    compare(inputs(batch, length, 3, 4), torch.float32, softplus=True)


def test_a_step_matches_the_reference():
    compare_step(2, 5, 3, torch.float32)


def test_shape_propagation_agrees_with_the_kernels():
    tensors = inputs(1, 3, 2, 2)
    torch.library.opcheck(
        torch.ops.recall_bench.selective_scan.default,
        (*(x.requires_grad_() for x in tensors), True, True),
        test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
    )
    compare(tensors, torch.float32, softplus=True)


@on_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("length", [1, 17, 63, 64, 65, 1000, 2048])
class TestOnGPU:
    @pytest.mark.parametrize(("width", "n"), [(64, 16), (50, 24), (24, 8)])
    def test_everything_given(self, length, dtype, width, n):
        compare(inputs(2, length, width, n, dtype), dtype, softplus=True)

    def test_required_inputs_alone(self, length, dtype):
        compare(inputs(2, length, 40, 16, dtype, full=False), dtype, softplus=False)

    @pytest.mark.parametrize(("span", "forward", "backward"), PASSES)
    def test_passes_of_other_shapes(self, monkeypatch, length, dtype, span, forward, backward):
        monkeypatch.setattr(triton, "SPAN", span)
        monkeypatch.setattr(triton, "FORWARD", forward)
        monkeypatch.setattr(triton, "BACKWARD", backward._replace(registers=168))
        compare(inputs(2, length, 72, 16, dtype), dtype, softplus=True)

    def test_step(self, length, dtype):
        compare_step(length, 200, 16, dtype)
