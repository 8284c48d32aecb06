import pytest
import torch
from comparing import DEVICE, TOLERANCE, assert_close, check, on_gpu, random

pytest.importorskip("triton")

from recall_bench.kernels.linear import reference, triton
from recall_bench.kernels.plumbing import triton_sums

NAMES = ("x", "weight", "bias")


def inputs(rows, width, out, dtype=torch.float32, bias=True):
    x, weight = random(*rows, width, seed=0, dtype=dtype), random(out, width, seed=1, dtype=dtype)
    return [x, weight, random(out, seed=2, dtype=dtype) if bias else None]


def compare(tensors, dtype=torch.float32):
    check(triton.linear, reference.linear, tensors, TOLERANCE[dtype], NAMES)


@pytest.mark.parametrize("out", [1, 20, 64, 130])
@pytest.mark.parametrize("rows", [(), (1,), (3, 70)])
def test_output_and_gradients_match_the_reference(rows, out):
    compare(inputs(rows, 17, out))


def test_without_a_bias_and_without_rows_they_match_too():
    compare(inputs((2, 5), 8, 6, bias=False))
    compare(inputs((0,), 8, 6))


def test_more_rows_than_strips_hold_match_the_reference(monkeypatch):
    monkeypatch.setattr(triton_sums, "FEW", 100)
    monkeypatch.setattr(triton_sums, "STRIPS", 2)
    compare(inputs((700,), 3, 64))


def test_transposed_inputs_match_the_reference():
    x, weight, bias = inputs((4, 6), 5, 7)
    compare([x.transpose(0, 1).contiguous().transpose(0, 1), weight.t().contiguous().t(), bias])


def test_under_autocast_the_products_are_bfloat16_and_the_gradients_are_those_of_float32_weights():
    x, weight, bias = (tensor.requires_grad_() for tensor in inputs((40,), 24, 12))
    with torch.autocast(DEVICE, torch.bfloat16):
        y = triton.linear(x, weight, bias)
    assert y.dtype == torch.bfloat16
    results = torch.autograd.grad(y.float().pow(2).sum(), [x, weight, bias])
    exact = torch.autograd.grad(reference.linear(x, weight, bias).pow(2).sum(), [x, weight, bias])
    for name, ours, theirs in zip(NAMES, results, exact, strict=True):
        assert ours.dtype == torch.float32
        assert_close(f"gradient of {name}", ours, theirs, 2e-2)


def compare_parts(tensors, sizes, dtype=torch.float32):
    def run(module):
        return lambda x, weight, bias: module.linear_parts(x, weight, sizes, bias)

    check(run(triton), run(reference), tensors, TOLERANCE[dtype], NAMES)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [(), (0,), (3, 70)])
@pytest.mark.parametrize("sizes", [(5,), (4, 4), (1, 16, 3)])
def test_parts_and_their_gradients_match_the_reference(sizes, rows, bias):
    compare_parts(inputs(rows, 17, sum(sizes), bias=bias), sizes)


@pytest.mark.parametrize("used", [(0,), (2,), (0, 2)])
def test_parts_that_nobody_uses_have_no_share_in_the_gradients(used):
    tensors, sizes = [x.requires_grad_() for x in inputs((6,), 5, 9)], (2, 3, 4)

    def gradients(module):
        parts = module.linear_parts(tensors[0], tensors[1], sizes, tensors[2])
        loss = sum(parts[i].pow(2).sum() for i in used)
        return torch.autograd.grad(loss, tensors)

    for name, ours, theirs in zip(NAMES, gradients(triton), gradients(reference), strict=True):
        assert_close(f"gradient of {name}", ours, theirs, 1e-5)


def test_under_autocast_the_gradients_of_parts_are_those_of_float32_weights():
    x, weight, bias = (tensor.requires_grad_() for tensor in inputs((40,), 24, 12))

    def gradients(module):
        a, b = module.linear_parts(x, weight, (8, 4), bias)
        return a, torch.autograd.grad((a.float() - 2 * b.float().mean()).pow(2).sum(), [x, weight])

    with torch.autocast(DEVICE, torch.bfloat16):
        y, results = gradients(triton)
    assert y.dtype == torch.bfloat16
    for name, ours, theirs in zip(NAMES, results, gradients(reference)[1], strict=False):
        assert ours.dtype == torch.float32
        assert_close(f"gradient of {name}", ours, theirs, 2e-2)


def test_shape_propagation_agrees_with_the_kernels():
    x, weight, bias = (tensor.requires_grad_() for tensor in inputs((2, 3), 8, 5))
    torch.library.opcheck(
        torch.ops.recall_bench.linear.default,
        (x, weight, weight.detach(), bias),
        test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
    )
    compare([x, weight, bias])


@on_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("out", [48, 64, 384, 1000])
def test_on_a_gpu_output_and_gradients(out, dtype):
    for rows in ((1,), (3, 1000), (256, 64)):
        compare(inputs(rows, 64, out, dtype), dtype)
        compare_parts(inputs(rows, 64, out, dtype), (16, out - 16), dtype)
