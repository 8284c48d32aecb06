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
    transposed,
)

pytest.importorskip("triton")

from recall_bench.architectures.softmax.attention import Attention
from recall_bench.architectures.softmax.sliding_window import SlidingWindow
from recall_bench.errors import UserError
from recall_bench.kernels.plumbing import dispatch
from recall_bench.kernels.rotary import reference, rotary, triton
from recall_bench.model.backbone import isolated_rng

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def tokens(T, start=0):
    return torch.arange(start, start + T, device=DEVICE)


def compare(x, positions, tolerance=None):
    check(
        lambda x: triton.rotary(x, positions),
        lambda x: reference.rotary(x, positions),
        [x],
        tolerance or TOLERANCE[x.dtype],
        ["x"],
    )


@pytest.mark.parametrize("d", [2, 6, 20, 64])
@pytest.mark.parametrize(("B", "T", "H"), [(1, 1, 1), (2, 9, 3), (3, 70, 1)])
def test_output_and_gradients_match_the_reference(B, T, H, d):
    compare(random(B, T, H, d, seed=0), tokens(T))


@pytest.mark.parametrize("d", [2, 6, 64])
def test_one_token_each_at_positions_of_their_own_matches_the_reference(d):
    positions = draw_positions(1, 7, 300)[0]
    compare(random(7, 3, d, seed=0), positions)


@pytest.mark.parametrize(("B", "Q"), [(3, 5), (2, 1), (1, 40)])
def test_positions_of_each_row_match_the_reference(B, Q):
    compare(random(B, Q, 2, 6, seed=0), draw_positions(B, Q, 500))
    compare(random(2, B, Q, 2, 6, seed=0), draw_positions(B, Q, 500))


def test_one_position_for_all_matches_the_reference():
    compare(random(2, 3, 2, 6, seed=0), tokens(1, 17))
    compare(random(2, 3, 2, 6, seed=0), torch.tensor(17, device=DEVICE))


@pytest.mark.parametrize("programs", [1, 6, 10])
def test_programs_that_turn_several_heads_and_sequences_match_the_reference(programs, monkeypatch):
    monkeypatch.setattr(triton, "PROGRAMS", programs)
    monkeypatch.setattr(triton, "TILE", 8)
    compare(random(3, 5, 3, 6, seed=0), tokens(5))
    compare(random(3, 5, 3, 6, seed=0), draw_positions(3, 5, 50))


@pytest.mark.parametrize("start", [100, 4096, 100_000, 2**24])
def test_large_positions_are_as_exact_as_small_ones(start):
    compare(random(2, 9, 2, 64, seed=0), tokens(9, start), 3e-7)


def test_no_error_is_larger_than_that_of_the_reference_in_float32():
    x, positions = random(1, 4097, 1, 16, seed=0), tokens(4097)
    exact = reference.rotary(x.double(), positions)
    error = (reference.rotary(x, positions) - exact).norm() / exact.norm()
    assert_close("output", triton.rotary(x, positions), exact, min(error.item(), 1e-6))


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_comes_back_as_it_came(dtype):
    x = random(2, 9, 3, 20, seed=0, dtype=dtype)
    assert triton.rotary(x, tokens(9)).dtype == dtype
    compare(x, tokens(9, 4000))


@pytest.mark.parametrize("size", [1e-30, 1e4])
def test_tiny_and_large_numbers_match_the_reference(size):
    x = random(2, 9, 3, 20, seed=0) * size
    y, exact = triton.rotary(x, tokens(9)), reference.rotary(x.double(), tokens(9))
    assert_close("output", y / size, exact / size, 1e-5)


@pytest.mark.parametrize("shape", [(0, 9, 2, 6), (2, 9, 0, 6), (2, 9, 2, 0)])
def test_empty_problems_have_empty_results_and_gradients(shape):
    compare(random(*shape, seed=0), tokens(9))


def test_a_sequence_of_no_tokens_stays_one():
    compare(random(2, 0, 3, 6, seed=0), tokens(0))
    compare(random(0, 3, 6, seed=0), tokens(0))


@pytest.mark.parametrize("part", [0, 1])
def test_parts_of_one_projection_match_the_reference(part):
    qkv = random(2, 9, 3 * 4 * 6, seed=0).unflatten(-1, (3, 4, 6))
    compare(qkv.unbind(-3)[part], tokens(9))
    compare(qkv[:, 3].unbind(-3)[part], tokens(2, 50))
    assert triton.rotary(qkv.unbind(-3)[part], tokens(9)).is_contiguous()


def test_other_strides_match_the_reference():
    compare(transposed(random(2, 9, 3, 6, seed=0)), tokens(9))
    compare(random(2, 9, 3, 12, seed=0)[..., ::2], tokens(9))
    compare(random(2, 9, 3, 6, seed=0), tokens(18)[::2])
    compare(random(2, 9, 3, 6, seed=0), draw_positions(9, 2, 50).t())


def test_gradients_of_any_strides_match_the_reference():
    x = random(2, 9, 3, 6, seed=0).requires_grad_()
    for slope in (transposed(random(2, 9, 3, 6, seed=1)), torch.ones(1, 1, 1, 1).expand_as(x)):
        results, expected = (
            torch.autograd.grad(module.rotary(x, tokens(9)), x, slope.to(x))[0]
            for module in (triton, reference)
        )
        assert_close("gradient", results, expected, 1e-5)


def test_the_gradient_turns_the_turned_back():
    x = random(2, 9, 3, 6, seed=0).requires_grad_()
    y = triton.rotary(x, tokens(9))
    assert_close("x", torch.autograd.grad(y, x, y.detach())[0], x, 1e-6)


def test_float64_is_left_to_the_reference():
    x = random(1, 1, 1, 2, seed=0, dtype=torch.float64)
    with pytest.raises(UserError, match="cannot run rotary"):
        rotary(x, tokens(1), backend="triton")
    assert_close("output", rotary(x, tokens(1)), x, 1e-30)


@pytest.mark.parametrize(
    "config",
    [
        Attention(d_model=12, num_heads=2, rotary=True),
        SlidingWindow(d_model=12, window=4, num_heads=2, rotary=True),
    ],
    ids=str,
)
def test_mixers_and_their_steps_match_the_reference(config, monkeypatch):
    with isolated_rng(0):
        mixer = config.mixer().to(DEVICE)
    x = random(2, 9, 12, seed=0)
    monkeypatch.setenv(dispatch.VARIABLE, "reference")
    expected = mixer(x), mixer.at(x, draw_positions(2, 3, 9))
    monkeypatch.setenv(dispatch.VARIABLE, "triton")
    dispatch.reset()
    results = mixer(x), mixer.at(x, draw_positions(2, 3, 9))
    assert dispatch.used()["rotary"] == "triton"
    for name, ours, theirs in zip(("all", "few"), results, expected, strict=True):
        assert_close(name, ours, theirs, 1e-5)
    state, steps = mixer.initial_state(2), []
    for t in range(9):
        y, state = mixer.step(x[:, t], state)
        steps.append(y)
    assert_close("steps", torch.stack(steps, 1), expected[0], 1e-5)


def test_shape_propagation_agrees_with_the_kernels():
    x = random(2, 9, 3, 6, seed=0)
    torch.library.opcheck(
        torch.ops.recall_bench.rotary.default,
        (x.requires_grad_(), tokens(9), False),
        test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
    )
    compare(x, tokens(9))


def test_it_compiles_into_one_graph():
    compiled = torch.compile(
        lambda x: 2 * rotary(x + 1, tokens(9), backend="triton"),
        backend="aot_eager",
        fullgraph=True,
    )
    x = random(2, 9, 3, 6, seed=0)
    check(compiled, lambda x: 2 * reference.rotary(x + 1, tokens(9)), [x], 1e-5, ["x"])


@on_gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", [2, 48, 64, 100, 128, 768])
@pytest.mark.parametrize(("B", "T", "H"), [(1, 1, 1), (256, 65, 1), (2, 4096, 3)])
def test_on_a_gpu_output_and_gradients(B, T, H, d, dtype):
    tolerance = 1e-6 if dtype == torch.float32 else None
    x = random(B, T, 3, H, d, seed=0, dtype=dtype).unbind(2)[1]
    compare(x, tokens(T), tolerance)
    compare(x[:, 0], draw_positions(1, B, 4096)[0], tolerance)
    compare(x[:, :16], draw_positions(B, min(T, 16), 4096), tolerance)


@on_gpu
@pytest.mark.parametrize("start", [0, 4096, 100_000, 2**24])
def test_on_a_gpu_large_positions_are_as_exact_as_small_ones(start):
    compare(random(2, 5000, 2, 64, seed=0), tokens(5000, start), 3e-7)


@on_gpu
def test_on_a_gpu_more_elements_than_32_bits_count():
    x = torch.ones(2**13 + 1, 4096, 1, 64, dtype=torch.bfloat16, device=DEVICE)
    y = triton.rotary(x, tokens(4096))
    exact = reference.rotary(x[:1].double(), tokens(4096))
    assert_close("first row", y[:1], exact, 1e-2)
    assert_close("last row", y[-1:], exact, 1e-2)


@on_gpu
def test_a_cuda_graph_replays_new_positions():
    x, positions = random(4, 30, 2, 64, seed=0).requires_grad_(), draw_positions(4, 30, 100)
    slope = random(4, 30, 2, 64, seed=1)

    def step():
        y = triton.rotary(x, positions)
        return y.detach(), *torch.autograd.grad(y, x, slope)

    check_replay(step, positions, 100, ("output", "gradient"))
