import pytest
import torch
from comparing import (
    DEVICE,
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
from recall_bench.kernels.plumbing import dispatch
from recall_bench.kernels.swiglu import reference, swiglu, triton
from recall_bench.model.backbone import MLP, isolated_rng

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def compare(x, tolerance=None):
    check(triton.swiglu, reference.swiglu, [x], tolerance or TOLERANCE[x.dtype], ["x"])


@pytest.mark.parametrize("hidden", [1, 3, 20, 64, 1100])
@pytest.mark.parametrize("rows", [(), (1,), (2, 35)])
def test_output_and_gradients_match_the_reference(rows, hidden):
    compare(random(*rows, 2 * hidden, seed=0))


def test_more_rows_than_a_tile_match_the_reference():
    compare(random(3000, 2, seed=0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [50, 100])
def test_large_gates_of_either_sign_match_the_reference(size, dtype):
    x = random(2, 5, 40, seed=0, dtype=dtype)
    x[..., :20] = size * random(2, 5, 20, seed=1).sign()
    compare(x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_each_element_matches_the_reference_from_the_smallest_gate_to_the_largest(dtype):
    gate = torch.linspace(-80, 80, 161, device=DEVICE)  # beyond, e^-x is subnormal or infinite
    x = torch.stack([gate, torch.full_like(gate, 0.75)], -1).to(dtype).requires_grad_()
    exact = x.detach().double().requires_grad_()
    y, wanted = triton.swiglu(x), reference.swiglu(exact)
    results, expected = [y], [wanted]
    results += torch.autograd.grad(y.sum(), x)
    expected += torch.autograd.grad(wanted.sum(), exact)
    for name, ours, theirs in zip(("output", "gradient"), results, expected, strict=True):
        assert_close(f"zeros of the {name}", (ours == 0).float(), (theirs == 0).float(), 1e-30)
        ratio = (ours / theirs)[theirs != 0]
        assert_close(name, ratio, torch.ones_like(ratio), TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_comes_back_as_it_came(dtype):
    x = random(3, 7, 24, seed=0, dtype=dtype)
    assert triton.swiglu(x).dtype == dtype
    compare(x)


@pytest.mark.parametrize("shape", [(0, 20), (3, 0, 20), (4, 0)])
def test_empty_problems_have_empty_results_and_gradients(shape):
    compare(random(*shape, seed=0))


def test_slices_transposed_rows_and_strided_columns_match_the_reference():
    wide = random(3, 5, 30, seed=0)
    compare(wide[..., 4:24])
    compare(random(5, 3, 20, seed=0).transpose(0, 1))
    compare(wide[..., ::3])


def test_gradients_of_any_strides_match_the_reference():
    x = random(3, 5, 12, seed=0).requires_grad_()
    for slope in (random(6, 5, 3, seed=1).permute(2, 1, 0), torch.ones(1, 1, 1).expand(3, 5, 6)):
        results, expected = (
            torch.autograd.grad(module.swiglu(x), x, slope.to(x))[0]
            for module in (triton, reference)
        )
        assert_close("gradient", results, expected, 1e-5)


def test_float64_is_left_to_the_reference_and_half_a_pair_is_refused():
    x = random(2, 6, seed=0, dtype=torch.float64)
    with pytest.raises(UserError, match="cannot run swiglu"):
        swiglu(x, backend="triton")
    gate, value = x.chunk(2, -1)
    assert_close("output", swiglu(x), gate * gate.sigmoid() * value, 1e-12)
    with pytest.raises(ValueError, match=r"even last dimension. Got \(2, 5\)"):
        swiglu(x[:, :5])


def test_an_mlp_under_autocast_matches_float32_and_records_the_kernel(monkeypatch):
    with isolated_rng(0):
        mlp = MLP(12, 20).to(DEVICE)
    x = random(3, 5, 12, seed=0)
    expected = mlp(x)
    monkeypatch.setenv(dispatch.VARIABLE, "triton")
    dispatch.reset()
    with torch.autocast(DEVICE, torch.bfloat16):
        y = mlp(x)
    assert dispatch.used()["swiglu"] == "triton"
    assert y.dtype == torch.bfloat16
    assert_close("output", y, expected, 2e-2)


def test_shape_propagation_agrees_with_the_kernels():
    x = random(2, 3, 8, seed=0)
    torch.library.opcheck(
        torch.ops.recall_bench.swiglu.default,
        (x.requires_grad_(),),
        test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
    )
    compare(x)


def test_it_compiles_into_one_graph():
    compiled = torch.compile(
        lambda x: 2 * swiglu(x + 1, backend="triton"), backend="aot_eager", fullgraph=True
    )
    x = random(2, 9, 6, seed=0)
    check(compiled, lambda x: 2 * reference.swiglu(x + 1), [x], 1e-5, ["x"])


@on_gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("hidden", [1, 48, 100, 512, 1365, 2048])
def test_on_a_gpu_output_and_gradients(hidden, dtype):
    for rows in ((1,), (3, 1000)):
        compare(random(*rows, 2 * hidden, seed=0, dtype=dtype))


@on_gpu
def test_on_a_gpu_more_elements_than_32_bits_count():
    x = torch.ones(2**20 + 3, 4096, dtype=torch.bfloat16, device=DEVICE)
    x[-1] = 2
    y = triton.swiglu(x)
    assert_close("first row", y[0], reference.swiglu(x[0].double()), 1e-2)
    assert_close("last row", y[-1], reference.swiglu(x[-1].double()), 1e-2)


@on_gpu
def test_a_cuda_graph_replays_new_values():
    positions, x = draw_positions(4, 32, 100), random(100, 64, seed=0)
    slope = random(4, 32, 32, seed=1)

    def step():
        rows = x[positions].requires_grad_()
        y = triton.swiglu(rows)
        return y.detach(), *torch.autograd.grad(y, rows, slope)

    check_replay(step, positions, 100, ("output", "gradient"))
