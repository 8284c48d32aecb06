import math

import pytest
import torch
from comparing import (
    TOLERANCE,
    assert_close,
    check,
    check_replay_after,
    on_gpu,
    poisoned_memory,
    random,
)

pytest.importorskip("triton")

from recall_bench.errors import UserError
from recall_bench.kernels.s4d_kernel import reference, s4d_kernel, triton

NAMES = ("log_dt", "log_A_real", "A_imag", "B", "C", "D")


def inputs(heads, modes, dtype=torch.float32):
    """Steps between 1e-3 and 1e-1 and frequencies around pi n, like H3's initial ones."""
    steps = torch.linspace(math.log(1e-3), math.log(1e-1), heads)[:, None]
    frequencies = math.pi * torch.arange(modes) + 0.1 * random(heads, modes, seed=1).cpu()
    return [
        steps.to(random(1, seed=0)).to(dtype),
        math.log(0.5) + 0.3 * random(heads, modes, seed=2, dtype=dtype),
        frequencies.to(random(1, seed=0)).to(dtype),
        random(heads, modes, 2, seed=3, dtype=dtype),
        random(heads, modes, 2, seed=4, dtype=dtype),
        random(heads, seed=5, dtype=dtype),
    ]


def compare(tensors, length, tolerance=1e-5):
    def run(module):
        return lambda *x: module.s4d_kernel(*x, length)

    check(run(triton), run(reference), tensors, tolerance, NAMES)


@pytest.mark.parametrize("length", [1, 2, 127, 128, 300])
@pytest.mark.parametrize("modes", [1, 2, 5])
def test_kernel_and_gradients_match_the_reference(modes, length):
    compare(inputs(3, modes), length)


def test_more_modes_than_fit_a_tile_match_the_reference():
    compare(inputs(2, 37), 20)


def test_errors_stay_small_at_phases_of_thousands_of_radians():
    compare(inputs(3, 16), 2000, 2e-6)


def test_modes_that_vanish_after_one_token_have_finite_gradients():
    tensors = inputs(1, 2)
    tensors[0] = torch.full_like(tensors[0], math.log(2.0))
    tensors[1], tensors[2] = torch.zeros_like(tensors[1]), torch.zeros_like(tensors[2])  # A' = 0
    B, C = (torch.view_as_complex(x) for x in tensors[3:5])
    with poisoned_memory():
        ours = [x.requires_grad_() for x in tensors]
        kernel = triton.s4d_kernel(*ours, 3)
        gradients = torch.autograd.grad(kernel.sum(), ours)
    first = 2 * (B * C).sum(1).real + tensors[5]  # B' = B
    expected = torch.stack([first, *2 * [torch.zeros_like(first)]], 1)
    assert_close("kernel", kernel, expected, 1e-5)
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_an_empty_kernel_has_zero_gradients():
    compare(inputs(2, 3), 0)


def test_bfloat16_parameters_match_the_reference():
    compare(inputs(2, 3, torch.bfloat16), 30, TOLERANCE[torch.bfloat16])


def test_inputs_and_gradients_of_any_strides_match_the_reference():
    log_dt, log_A_real, A_imag, B, C, D = inputs(6, 3)
    log_A_real, A_imag = (x.t().contiguous().t() for x in (log_A_real, A_imag))
    B, C = (x.permute(2, 1, 0).contiguous().permute(2, 1, 0) for x in (B, C))
    tensors = [log_dt[::2], log_A_real[::2], A_imag[::2], B[::2], C[::2], D[::2]]
    compare(tensors, 40)
    ours = [x.requires_grad_() for x in tensors]
    slope = random(40, 3, seed=6).t()
    results, expected = (
        torch.autograd.grad(module.s4d_kernel(*ours, 40), ours, slope)
        for module in (triton, reference)
    )
    for name, a, b in zip(NAMES, results, expected, strict=True):
        assert_close(name, a, b, 1e-5)


def test_results_repeat_bit_for_bit():
    tensors = [x.requires_grad_() for x in inputs(2, 20)]
    first, second = (
        torch.autograd.grad(triton.s4d_kernel(*tensors, 140).sin().sum(), tensors) for _ in range(2)
    )
    for name, a, b in zip(NAMES, first, second, strict=True):
        assert_close(name, a, b, 1e-30)


def test_float64_is_left_to_the_reference():
    tensors = inputs(2, 3, torch.float64)
    with pytest.raises(UserError, match="cannot run s4d_kernel"):
        s4d_kernel(*tensors, 9, backend="triton")
    assert_close("kernel", s4d_kernel(*tensors, 9), reference.s4d_kernel(*tensors, 9), 1e-30)


def test_shape_propagation_agrees_with_the_kernels():
    tensors = inputs(2, 3)
    torch.library.opcheck(
        torch.ops.recall_bench.s4d_kernel.default,
        (*(x.requires_grad_() for x in tensors), 7),
        test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
    )
    compare(tensors, 7)


def test_it_compiles_into_one_graph():
    def doubled(*x):
        return 2 * s4d_kernel(*x, 9, backend="triton")

    compiled = torch.compile(doubled, backend="aot_eager", fullgraph=True)
    check(compiled, lambda *x: 2 * reference.s4d_kernel(*x, 9), inputs(2, 3), 1e-5, NAMES)


@on_gpu
@pytest.mark.parametrize("modes", [1, 2, 8, 16, 32, 48])
@pytest.mark.parametrize("length", [1, 64, 127, 128, 256, 1000, 4096])
def test_on_a_gpu_kernel_and_gradients_match_the_reference(length, modes):
    compare(inputs(128, modes), length)


@on_gpu
def test_a_cuda_graph_replays_new_parameters():
    tensors = [x.requires_grad_() for x in inputs(16, 8)]

    def step():
        kernel = triton.s4d_kernel(*tensors, 200)
        return kernel.detach(), *torch.autograd.grad(kernel.sin().sum(), tensors)

    @torch.no_grad()
    def change():
        for x in tensors:
            x.mul_(0.9)

    check_replay_after(change, step, ("kernel", *NAMES))
