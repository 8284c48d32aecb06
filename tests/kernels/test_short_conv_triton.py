import pytest
import torch
from comparing import TOLERANCE, check, on_gpu, random

pytest.importorskip("triton")

from recall_bench.kernels.short_conv import reference, triton

NAMES = ("x", "weight", "bias", "initial_state")


def inputs(batch, length, width, kernel, dtype=torch.float32, *, bias=True, initial=True):
    return [
        random(batch, length, width, seed=0, dtype=dtype),
        random(width, kernel, seed=1, dtype=dtype),
        random(width, seed=2, dtype=dtype) if bias else None,
        random(batch, kernel - 1, width, seed=3, dtype=dtype) if initial else None,
    ]


def compare(tensors, activation, dtype):
    def run(module, x, weight, bias, initial):
        return module.short_conv(x, weight, bias, activation, initial, return_state=True)

    check(
        lambda *x: run(triton, *x), lambda *x: run(reference, *x), tensors, TOLERANCE[dtype], NAMES
    )


@pytest.mark.parametrize("activation", [None, "silu"])
@pytest.mark.parametrize("length", [1, 2, 17, 65])
def test_lengths_shorter_and_longer_than_the_kernel_match_the_reference(length, activation):
    compare(inputs(2, length, 20, 4), activation, torch.float32)


@pytest.mark.parametrize("kernel", [2, 3])
def test_neither_bias_nor_initial_inputs_match_the_reference(kernel):
    compare(inputs(1, 10, 70, kernel, bias=False, initial=False), "silu", torch.float32)


def test_several_tiles_of_time_and_width_match_the_reference():
    compare(inputs(1, 300, 100, 3), "silu", torch.float32)


def test_bfloat16_matches_the_reference():
    compare(inputs(1, 65, 20, 3, torch.bfloat16), "silu", torch.bfloat16)


def test_transposed_inputs_match_the_reference():
    x, *rest = inputs(2, 17, 20, 3)
    compare([x.transpose(1, 2).contiguous().transpose(1, 2), *rest], "silu", torch.float32)


@pytest.mark.parametrize(("batch", "length"), [(0, 5), (2, 0)])
def test_an_empty_problem_hands_the_inputs_through(batch, length):
    compare(inputs(batch, length, 8, 3), None, torch.float32)


def test_a_step_matches_the_reference():
    def step(module, x, weight, bias, initial):
        return module.short_conv_step(x[:, 0], initial, weight, bias, "silu")

    tensors = inputs(3, 1, 20, 3)
    check(lambda *x: step(triton, *x), lambda *x: step(reference, *x), tensors, 1e-5, NAMES)


def test_shape_propagation_agrees_with_the_kernels():
    tensors = inputs(1, 5, 8, 3)
    torch.library.opcheck(
        torch.ops.recall_bench.short_conv.default,
        (*(x.requires_grad_() for x in tensors), True),
        test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
    )
    compare(tensors, "silu", torch.float32)


@on_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("length", [1, 17, 63, 64, 65, 1000, 2048])
@pytest.mark.parametrize(("width", "kernel"), [(64, 3), (100, 4)])
def test_on_a_gpu_forward_state_and_gradients(length, dtype, width, kernel):
    compare(inputs(3, length, width, kernel, dtype), "silu", dtype)
