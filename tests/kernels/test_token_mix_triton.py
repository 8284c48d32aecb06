import pytest
import torch
from comparing import TOLERANCE, assert_close, check, on_gpu, random

pytest.importorskip("triton")

from recall_bench.kernels.token_mix import reference, token_mix, triton

NAMES = ("x", "mix")


def inputs(batch, length, width, count=4, dtype=torch.float32):
    mix = torch.rand(count, width, generator=torch.Generator().manual_seed(1))
    x = random(batch, length, width, seed=0, dtype=dtype)
    return [x, mix.to(x.device)]


def compare(tensors):
    tolerance = TOLERANCE[tensors[0].dtype]
    check(triton.token_mix, reference.token_mix, tensors, tolerance, NAMES)


@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_every_count_of_outputs_matches_the_reference(count):
    compare(inputs(2, 9, 5, count))


@pytest.mark.parametrize(("length", "width"), [(1, 8), (2, 1), (17, 70), (33, 128), (0, 8)])
def test_lengths_and_widths_match_the_reference(length, width):
    compare(inputs(3, length, width))


def test_bfloat16_matches_the_reference():
    compare(inputs(2, 9, 8, dtype=torch.bfloat16))


def test_inputs_of_any_strides_match_the_reference():
    x, mix = inputs(5, 6, 8)
    compare([x.transpose(0, 1), mix.t().contiguous().t()])


def test_an_output_that_nobody_uses_has_no_part_in_the_gradients():
    check(
        lambda *x: triton.token_mix(*x)[1], lambda *x: reference.token_mix(*x)[1],
        inputs(2, 9, 4), 1e-5, NAMES,
    )  # fmt: skip


def test_outputs_are_the_reference_where_nothing_is_asked_of_the_backend():
    tensors = inputs(2, 9, 4)
    for name, a, b in zip("rkvg", token_mix(*tensors), reference.token_mix(*tensors), strict=True):
        assert_close(name, a, b, 1e-6)


def test_results_repeat_bit_for_bit():
    tensors = [x.requires_grad_() for x in inputs(3, 50, 4)]

    def gradients():
        mixed = triton.token_mix(*tensors)
        return torch.autograd.grad(mixed, tensors, [y.detach() for y in mixed])

    for name, a, b in zip(NAMES, gradients(), gradients(), strict=True):
        assert_close(name, a, b, 1e-30)


def test_shape_propagation_agrees_with_the_kernels():
    tensors = inputs(2, 5, 4)
    torch.library.opcheck(
        torch.ops.recall_bench.token_mix.default,
        tuple(x.requires_grad_() for x in tensors),
        test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
    )
    compare(tensors)


def test_it_compiles_into_one_graph():
    compiled = torch.compile(
        lambda x, mix: triton.token_mix(x + 1, mix), backend="aot_eager", fullgraph=True
    )
    check(compiled, lambda x, mix: reference.token_mix(x + 1, mix), inputs(2, 9, 4), 1e-5, NAMES)


@on_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("width", [1, 48, 64, 128, 1000])
@pytest.mark.parametrize("length", [1, 17, 63, 64, 65, 1000, 2048])
def test_on_a_gpu_outputs_and_gradients_match_the_reference(length, width, dtype):
    compare(inputs(3, length, width, dtype=dtype))
