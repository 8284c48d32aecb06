import pytest
import torch
from comparing import TOLERANCE, check, on_gpu, random

pytest.importorskip("triton")

from recall_bench.kernels.short_conv import reference, triton

NAMES = ("x", "weight", "bias", "initial_state", "gate")


def inputs(
    batch, length, width, kernel, dtype=torch.float32, *, bias=True, initial=True, gate=False
):
    return [
        random(batch, length, width, seed=0, dtype=dtype),
        random(width, kernel, seed=1, dtype=dtype),
        random(width, seed=2, dtype=dtype) if bias else None,
        random(batch, kernel - 1, width, seed=3, dtype=dtype) if initial else None,
        random(batch, length, width, seed=4, dtype=dtype) if gate else None,
    ]


def compare(tensors, activation, dtype, *, residual=False):
    def run(module, x, weight, bias, initial, gate):
        return module.short_conv(x, weight, bias, activation, gate, residual, initial, True)

    check(
        lambda *x: run(triton, *x), lambda *x: run(reference, *x), tensors, TOLERANCE[dtype], NAMES
    )


@pytest.mark.parametrize("activation", [None, "silu"])
@pytest.mark.parametrize("residual", [False, True])
def test_a_gate_and_a_residual_match_the_reference(activation, residual):
    compare(inputs(2, 9, 20, 3, gate=True), activation, torch.float32, residual=residual)
    compare(inputs(1, 3, 20, 3, initial=False), activation, torch.float32, residual=residual)


def test_a_gate_of_another_dtype_and_a_slice_match_the_reference():
    *rest, gate = inputs(2, 9, 20, 3, gate=True)
    wide = torch.cat([gate, gate], -1).bfloat16()
    compare([*rest, wide[..., 20:]], None, torch.bfloat16, residual=True)


@pytest.mark.parametrize("kernel", [1, 8])
def test_the_shortest_and_the_longest_kernel_match_the_reference(kernel):
    compare(inputs(1, 20, 7, kernel, gate=True), "silu", torch.float32, residual=True)


def test_kernels_beyond_the_limit_match_the_reference():
    compare(inputs(1, 20, 7, 9, gate=True), "silu", torch.float32, residual=True)


@pytest.mark.parametrize("kernel", [2, 3])
def test_neither_bias_nor_initial_inputs_match_the_reference(kernel):
    compare(inputs(1, 10, 20, kernel, bias=False, initial=False), "silu", torch.float32)


@pytest.mark.parametrize("chunks", [1, 2, 16])
def test_programs_of_any_length_and_blocks_of_channels_match_the_reference(monkeypatch, chunks):
    monkeypatch.setattr(triton, "CHUNKS", (chunks, chunks))
    compare(inputs(1, 18, 70, 3, gate=True), "silu", torch.float32)


def test_bfloat16_matches_the_reference():
    compare(inputs(1, 17, 20, 3, torch.bfloat16), "silu", torch.bfloat16)


def test_transposed_inputs_match_the_reference():
    x, *rest = inputs(2, 9, 20, 3)
    compare([x.transpose(1, 2).contiguous().transpose(1, 2), *rest], "silu", torch.float32)


@pytest.mark.parametrize(("batch", "length"), [(0, 5), (2, 0)])
def test_an_empty_problem_hands_the_inputs_through(batch, length):
    compare(inputs(batch, length, 8, 3), None, torch.float32)


def test_shape_propagation_agrees_with_the_kernels():
    tensors = inputs(1, 5, 8, 3, gate=True)
    torch.library.opcheck(
        torch.ops.recall_bench.short_conv.default,
        (*(x.requires_grad_() for x in tensors), True, True),
        test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
    )
    compare(tensors, "silu", torch.float32)


@on_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("length", [1, 17, 63, 64, 65, 1000, 2048])
@pytest.mark.parametrize(("width", "kernel"), [(64, 3), (100, 4), (48, 3), (256, 4)])
def test_on_a_gpu_forward_state_and_gradients(length, dtype, width, kernel):
    compare(inputs(3, length, width, kernel, dtype), "silu", dtype)
    tensors = inputs(3, length, width, kernel, dtype, initial=False, gate=True)
    compare(tensors, None, dtype, residual=True)
