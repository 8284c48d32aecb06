import pytest
import torch
from comparing import (
    DEVICE,
    TOLERANCE,
    assert_close,
    check,
    draw_positions,
    on_gpu,
    random,
)

pytest.importorskip("triton")

from recall_bench.errors import UserError
from recall_bench.kernels.add_norm import add_norm, reference, triton

NAMES = ("x", "residual", "weight", "bias")


def inputs(rows, width, dtype=torch.float32, *, stream=None, residual=True, bias=True):
    return [
        random(*rows, width, seed=0, dtype=dtype) + 3,
        random(*rows, width, seed=1, dtype=stream or dtype) if residual else None,
        random(width, seed=2),
        random(width, seed=3) if bias else None,
    ]


def compare(tensors, kind, dtype):
    def run(module):
        return lambda *x: module.add_norm(*x, 1e-5, kind)

    check(run(triton), run(reference), tensors, TOLERANCE[dtype], NAMES)


@pytest.mark.parametrize("kind", ["layernorm", "rmsnorm"])
@pytest.mark.parametrize("width", [1, 20, 64])
def test_output_sum_and_gradients_match_the_reference(width, kind):
    compare(inputs((2, 70), width), kind, torch.float32)


@pytest.mark.parametrize("kind", ["layernorm", "rmsnorm"])
def test_neither_residual_nor_bias_match_the_reference(kind):
    compare(inputs((3, 5), 20, residual=False, bias=False), kind, torch.float32)


def test_a_bfloat16_branch_on_a_float32_stream_matches_the_reference():
    compare(inputs((3, 5), 20, torch.bfloat16, stream=torch.float32), "layernorm", torch.bfloat16)


def test_bfloat16_matches_the_reference():
    compare(inputs((3, 5), 20, torch.bfloat16), "rmsnorm", torch.bfloat16)


def test_under_autocast_the_normalised_rows_have_its_dtype_and_the_sum_keeps_its_own():
    tensors = [x.requires_grad_() for x in inputs((3, 5), 20)]
    with torch.autocast(DEVICE, torch.bfloat16):
        normed, total = add_norm(*tensors, backend="triton")
    assert (normed.dtype, total.dtype) == (torch.bfloat16, torch.float32)
    exact = reference.add_norm(*tensors)
    results = torch.autograd.grad(normed.float().pow(2).sum() + total.sum(), tensors)
    expected = torch.autograd.grad(exact[0].pow(2).sum() + exact[1].sum(), tensors)
    for name, ours, theirs in zip(NAMES, results, expected, strict=True):
        assert ours.dtype == torch.float32
        assert_close(f"gradient of {name}", ours, theirs, 2e-2)


def test_more_rows_than_programs_match_the_reference(monkeypatch):
    monkeypatch.setattr(triton, "PROGRAMS", 2)
    compare(inputs((150,), 64), "layernorm", torch.float32)


def test_transposed_rows_and_a_slice_match_the_reference():
    x, residual, *rest = inputs((4, 6), 20)
    wide = torch.cat([residual, residual], -1)
    compare(
        [x.transpose(0, 1).contiguous().transpose(0, 1), wide[..., 20:], *rest],
        "layernorm",
        torch.float32,
    )


def test_no_rows_give_no_output_and_zero_gradients():
    compare(inputs((0,), 20), "layernorm", torch.float32)


def test_only_the_normed_half_or_only_the_sum_may_be_used():
    x, residual, weight, bias = (x.requires_grad_() for x in inputs((3,), 8))
    for part in range(2):
        pairs = (
            torch.autograd.grad(
                module.add_norm(x, residual, weight, bias)[part].pow(3).sum(),
                [x, residual, weight, bias],
                materialize_grads=True,
            )
            for module in (triton, reference)
        )
        for name, ours, theirs in zip(NAMES, *pairs, strict=True):
            assert_close(f"gradient of {name}", ours, theirs, 1e-5)


def compare_at(tensors, positions, kind="layernorm"):
    def run(module):
        return lambda *x: module.add_norm(*x, 1e-5, kind, positions=positions)

    check(run(triton), run(reference), tensors, TOLERANCE[tensors[0].dtype], NAMES)


@pytest.mark.parametrize("kind", ["layernorm", "rmsnorm"])
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize(("B", "Q", "T", "D"), [(2, 9, 7, 20), (2, 0, 7, 8), (0, 3, 5, 8)])
def test_the_sum_at_a_few_positions_matches_the_reference(B, Q, T, D, residual, kind):
    compare_at(inputs((B, T), D, residual=residual), draw_positions(B, Q, T), kind)


def test_a_narrow_branch_and_its_stream_both_get_the_gradients_of_a_few_positions():
    tensors = inputs((2, 7), 20, torch.bfloat16, stream=torch.float32)
    compare_at(tensors, draw_positions(2, 9, 7))


@pytest.mark.parametrize("residual", [True, False])
def test_only_the_normed_half_or_only_the_sum_at_positions_may_be_used(residual):
    tensors, positions = inputs((2, 7), 20, residual=residual), draw_positions(2, 9, 7)
    leaves = [x.requires_grad_() for x in tensors if x is not None]
    for part in range(2):
        pairs = (
            torch.autograd.grad(
                module.add_norm(*tensors, positions=positions)[part].pow(3).sum(),
                leaves,
                materialize_grads=True,
            )
            for module in (triton, reference)
        )
        for ours, theirs in zip(*pairs, strict=True):
            assert_close("gradient", ours, theirs, 1e-5)


@pytest.mark.parametrize("residual", [True, False])
def test_with_positions_it_compiles_into_one_graph(residual):
    positions = draw_positions(2, 6, 9)

    def run(*tensors):
        return add_norm(*tensors, positions=positions, backend="triton")

    check(
        torch.compile(run, backend="aot_eager", fullgraph=True),
        lambda *tensors: reference.add_norm(*tensors, positions=positions),
        inputs((2, 9), 8, residual=residual),
        1e-5,
        NAMES,
    )


def test_rows_too_wide_are_refused_and_left_to_the_reference():
    x = random(1, 4097, seed=0)
    with pytest.raises(UserError, match="rows of at most 4096 numbers, not 4097"):
        add_norm(x, None, torch.ones(4097), backend="triton")
    assert_close("normed", add_norm(x, None, x.new_ones(4097))[0], (x - x.mean()) / x.std(), 1e-3)


def test_shape_propagation_agrees_with_the_kernels():
    tensors = inputs((2, 3), 8)
    torch.library.opcheck(
        torch.ops.recall_bench.add_norm.default,
        (*(x.requires_grad_() for x in tensors), 1e-5, True, torch.float32),
        test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
    )
    compare(tensors, "layernorm", torch.float32)


@on_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["layernorm", "rmsnorm"])
@pytest.mark.parametrize("width", [1, 48, 64, 100, 256, 1000, 4096])
def test_on_a_gpu_output_sum_and_gradients(width, kind, dtype):
    for rows in ((1,), (3, 1000)):
        compare(inputs(rows, width, dtype), kind, dtype)
        compare(inputs(rows, width, dtype, stream=torch.float32), kind, dtype)


@on_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("width", [64, 100, 256])
@pytest.mark.parametrize(("Q", "T"), [(4, 64), (64, 256)])
def test_on_a_gpu_the_sum_at_a_few_positions(Q, T, width, dtype):
    for stream in (dtype, torch.float32):
        compare_at(inputs((16, T), width, dtype, stream=stream), draw_positions(16, Q, T))
