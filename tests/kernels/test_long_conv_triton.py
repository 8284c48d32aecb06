import pytest
import torch
from comparing import TOLERANCE, assert_close, check, check_replay_after, on_gpu, random

pytest.importorskip("triton")

from recall_bench.errors import UserError
from recall_bench.kernels.long_conv import long_conv, reference, triton

NAMES = ("x", "kernel")


def compare(x, kernel, tolerance=None):
    check(
        triton.long_conv, reference.long_conv, [x, kernel], tolerance or TOLERANCE[x.dtype], NAMES
    )


@pytest.mark.parametrize("length", [1, 2, 17, 64, 65])
@pytest.mark.parametrize("taps", [1, 5, 64, 70])
@pytest.mark.parametrize("inner", [(), (2, 2)])
def test_output_and_gradients_match_the_reference(taps, length, inner):
    compare(random(3, 4, *inner, length, seed=0), random(4, taps, seed=1))


def test_lengths_beyond_the_limit_match_the_reference(monkeypatch):
    monkeypatch.setattr(triton, "LENGTH_LIMIT", 8)
    for length in (8, 9):
        compare(random(2, 3, length, seed=0), random(3, 20, seed=1))


def test_a_bfloat16_input_is_convolved_in_the_precision_of_the_kernel():
    x, kernel = random(2, 3, 20, seed=0, dtype=torch.bfloat16), random(3, 20, seed=1)
    y = triton.long_conv(x, kernel)
    assert y.dtype == torch.float32
    assert_close("output", y, reference.long_conv(x.double(), kernel.double()), 1e-6)
    compare(x, kernel)


def test_autocast_leaves_the_precision_alone():
    x, kernel = (random(*n, 20, seed=0).requires_grad_() for n in ((2, 3), (3,)))
    results = []
    for enabled in (True, False):
        with torch.autocast(x.device.type, torch.bfloat16, enabled=enabled):
            y = triton.long_conv(x, kernel)
            results.append((y, *torch.autograd.grad(y.sin().sum(), (x, kernel))))
    for name, got, expected in zip(("output", *NAMES), *results, strict=True):
        assert_close(name, got, expected, 1e-30)


def test_inputs_and_gradients_of_any_strides_match_the_reference():
    x, kernel = random(2, 19, 3, seed=0).mT, random(19, 6, seed=1).t()[::2]
    compare(x, kernel)
    x.requires_grad_(), kernel.requires_grad_()
    slope = random(19, 3, 2, seed=2).permute(2, 1, 0)
    ours, expected = (
        torch.autograd.grad(module.long_conv(x, kernel), (x, kernel), slope)
        for module in (triton, reference)
    )
    for name, a, b in zip(NAMES, ours, expected, strict=True):
        assert_close(name, a, b, 1e-5)


def test_results_repeat_bit_for_bit():
    tensors = [random(*n, 70, seed=0).requires_grad_() for n in ((2, 3), (3,))]
    first, second = (
        torch.autograd.grad(triton.long_conv(*tensors).sin().sum(), tensors) for _ in range(2)
    )
    for name, a, b in zip(NAMES, first, second, strict=True):
        assert_close(name, a, b, 1e-30)


def test_float64_is_left_to_the_reference():
    x, kernel = (random(*n, 5, seed=0, dtype=torch.float64) for n in ((2, 3), (3,)))
    with pytest.raises(UserError, match="cannot run long_conv"):
        long_conv(x, kernel, backend="triton")
    assert_close("output", long_conv(x, kernel), reference.long_conv(x, kernel), 1e-30)


def test_shape_propagation_agrees_with_the_kernels():
    tensors = random(3, 6, 7, seed=0), random(3, 5, seed=1)
    torch.library.opcheck(
        torch.ops.recall_bench.long_conv.default,
        tuple(x.requires_grad_() for x in tensors),
        test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
    )
    compare(random(2, 3, 7, seed=0), tensors[1])


def test_it_compiles_into_one_graph():
    def doubled(x, kernel):
        return 2 * long_conv(x, kernel, backend="triton")

    compiled = torch.compile(doubled, backend="aot_eager", fullgraph=True)
    tensors = [random(2, 3, 9, seed=0), random(3, 4, seed=1)]
    check(compiled, lambda *x: 2 * reference.long_conv(*x), tensors, 1e-5, NAMES)


@on_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("length", [1, 64, 100, 128, 512])
@pytest.mark.parametrize("taps", [4, 16, 128, 512])
def test_on_a_gpu_output_and_gradients_match_the_reference(taps, length, dtype):
    x = random(5, length, 64, seed=0, dtype=dtype).mT
    compare(x, random(64, taps, seed=1))
    compare(x.unflatten(1, (16, 2, 2)), random(16, taps, seed=1))


@on_gpu
def test_a_cuda_graph_replays_new_inputs():
    x, kernel = random(4, 32, 100, seed=0), random(32, 100, seed=1)
    tensors = x.requires_grad_(), kernel.requires_grad_()

    def step():
        y = triton.long_conv(*tensors)
        return y.detach(), *torch.autograd.grad(y.sin().sum(), tensors)

    @torch.no_grad()
    def change():
        x.mul_(0.9)
        kernel.add_(1)

    check_replay_after(change, step, ("output", *NAMES))
