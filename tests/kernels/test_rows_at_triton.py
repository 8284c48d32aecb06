import pytest
import torch
from comparing import (
    TOLERANCE,
    assert_close,
    check,
    check_replay,
    draw_positions,
    on_gpu,
    random,
)

pytest.importorskip("triton")

from recall_bench.errors import UserError
from recall_bench.kernels.plumbing.triton_rows import add_rows
from recall_bench.kernels.rows_at import reference, rows_at, triton


def compare(x, positions, tolerance=None):
    check(
        lambda x: triton.rows_at(x, positions),
        lambda x: reference.rows_at(x, positions),
        [x],
        tolerance or TOLERANCE[x.dtype],
        ["x"],
    )


@pytest.mark.parametrize("width", [(), (1,), (3, 5), (128,), (300,)])
@pytest.mark.parametrize(("Q", "T"), [(1, 1), (4, 9), (40, 21)])
def test_rows_and_gradients_match_the_reference(Q, T, width):
    compare(random(3, T, *width, seed=0), draw_positions(3, Q, T))


def test_more_queries_than_are_searched_at_once_match_the_reference():
    compare(random(2, 50, 4, seed=0), draw_positions(2, 300, 50))


@pytest.mark.parametrize(("B", "Q", "T", "D"), [(0, 3, 5, 2), (2, 0, 5, 2), (2, 0, 0, 2)])
def test_empty_problems_have_empty_results_and_zero_gradients(B, Q, T, D):
    compare(random(B, T, D, seed=0), draw_positions(B, Q, T))


def test_inputs_and_gradients_of_any_strides_match_the_reference():
    x, positions = random(7, 2, 6, seed=0).transpose(0, 1), draw_positions(2, 9, 7)
    positions = positions.t().contiguous().t()
    compare(x, positions)
    x.requires_grad_()
    slope = random(9, 6, 2, seed=1).permute(2, 0, 1)
    results, expected = (
        torch.autograd.grad(module.rows_at(x, positions), x, slope)[0]
        for module in (triton, reference)
    )
    assert_close("gradient", results, expected, 1e-5)


def test_repeated_bfloat16_rows_are_summed_before_they_are_rounded():
    compare(random(1, 2, 8, seed=0, dtype=torch.bfloat16), draw_positions(1, 200, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_are_added_to_earlier_values(dtype):
    out, rows = random(2, 11, 6, seed=0, dtype=dtype), random(2, 20, 6, seed=1)
    positions = draw_positions(2, 20, 11)
    expected = out.double().scatter_add(1, positions[..., None].expand(-1, -1, 6), rows.double())
    assert_close("sum", add_rows(out, rows, positions), expected, TOLERANCE[dtype])


def test_results_repeat_bit_for_bit():
    x, positions = random(2, 5, 6, seed=0).requires_grad_(), draw_positions(2, 70, 5)
    slope = random(2, 70, 6, seed=1)
    first, second = (
        torch.autograd.grad(triton.rows_at(x, positions), x, slope)[0] for _ in range(2)
    )
    assert_close("gradient", first, second, 1e-30)


def test_float64_is_left_to_the_reference():
    x, positions = random(2, 5, 6, seed=0, dtype=torch.float64), draw_positions(2, 3, 5)
    with pytest.raises(UserError, match="cannot run rows_at"):
        rows_at(x, positions, backend="triton")
    assert_close("rows", rows_at(x, positions), x[torch.arange(2)[:, None], positions], 1e-30)


def test_shape_propagation_agrees_with_the_kernels():
    x, positions = random(2, 9, 3, seed=0), draw_positions(2, 4, 9)
    torch.library.opcheck(
        torch.ops.recall_bench.rows_at.default,
        (x.requires_grad_(), positions),
        test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
    )
    compare(x, positions)


def test_it_compiles_into_one_graph():
    x, positions = random(2, 9, 3, seed=0), draw_positions(2, 6, 9)

    def doubled(x):
        return 2 * rows_at(x + 1, positions, backend="triton")

    compiled = torch.compile(doubled, backend="aot_eager", fullgraph=True)
    check(compiled, lambda x: 2 * reference.rows_at(x + 1, positions), [x], 1e-5, ["x"])


@on_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("D", [1, 48, 64, 128, 256, 1000])
@pytest.mark.parametrize(("Q", "T"), [(4, 64), (16, 65), (64, 256), (200, 1000)])
def test_on_a_gpu_gradients_match_the_reference(Q, T, D, dtype):
    compare(random(16, T, D, seed=0, dtype=dtype), draw_positions(16, Q, T))


@on_gpu
def test_a_cuda_graph_replays_new_positions():
    x, positions = random(4, 100, 64, seed=0).requires_grad_(), draw_positions(4, 30, 100)
    slope = random(4, 30, 64, seed=1)

    def step():
        y = triton.rows_at(x, positions)
        return y.detach(), *torch.autograd.grad(y, x, slope)

    check_replay(step, positions, 100, ("rows", "gradient"))
