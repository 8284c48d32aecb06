import pytest
import torch
from comparing import DEVICE, TOLERANCE, assert_close, check, check_replay, on_gpu, random

pytest.importorskip("triton")

from recall_bench.errors import UserError
from recall_bench.kernels.attention_at import attention_at, reference, triton

NAMES = ("q", "kv")


def inputs(B, Q, T, H, d, dtype=torch.float32, scale=1.0):
    """q, kv, and positions: unordered, some twice, the first and the last token among them."""
    q, kv = random(B, Q, H, d, seed=0, dtype=dtype), random(B, T, 2, H, d, seed=1, dtype=dtype)
    drawn = torch.randint(0, max(T, 1), (B, Q), generator=torch.Generator().manual_seed(2))
    if Q > 2:
        drawn[:, 1], drawn[:, 2] = 0, T - 1
    return q * scale, kv * scale, drawn.to(DEVICE)


def compare(q, kv, positions, window, tolerance=None):
    check(
        lambda q, kv: triton.attention_at(q, kv, positions, window),
        lambda q, kv: reference.attention_at(q, kv, positions, window),
        (q, kv),
        tolerance or TOLERANCE[q.dtype],
        NAMES,
    )


@pytest.mark.parametrize("window", [None, 1, 7, 64, 1000])
def test_windows_shorter_and_longer_than_the_sequence_match_the_reference(window):
    tensors = inputs(2, 9, 71, 2, 16)
    if window == 1:  # with a single key, q and k get no gradient
        q, kv, positions = tensors
        own = kv[:, :, 1].gather(1, positions[..., None, None].expand_as(q))
        assert_close("y", triton.attention_at(q, kv, positions, 1), own, 1e-5)
    else:
        compare(*tensors, window)


@pytest.mark.parametrize(("Q", "T", "d"), [(1, 2, 1), (4, 17, 20), (31, 33, 8), (64, 40, 5)])
def test_awkward_sizes_match_the_reference(Q, T, d):
    compare(*inputs(2, Q, T, 3, d), None)


@pytest.mark.parametrize("window", [None, 5])
def test_more_queries_than_a_program_takes_match_the_reference(window):
    compare(*inputs(2, 65, 35, 2, 16), window)


def test_keys_that_no_query_sees_get_zero_gradients():
    q, kv, _ = inputs(1, 2, 150, 1, 16)
    positions = torch.tensor([[70, 90]], device=q.device)
    compare(q, kv, positions, 8)
    compare(q, kv, positions, None)


def test_bfloat16_matches_the_reference():
    compare(*inputs(2, 5, 70, 1, 32, torch.bfloat16), 64)


def test_many_bfloat16_queries_are_summed_before_they_are_rounded():
    compare(*inputs(1, 100, 20, 1, 16, torch.bfloat16), None)


def test_scores_up_to_fifty_match_the_reference():
    compare(*inputs(1, 6, 40, 1, 16, scale=3.0), None)


def test_inputs_of_any_strides_match_the_reference():
    q, kv, positions = inputs(2, 6, 20, 3, 16)
    q, kv = q.mT.contiguous().mT, kv.transpose(1, 2).contiguous().transpose(1, 2)
    compare(q, kv, positions.t().contiguous().t(), None)
    compare(q, kv.mT.contiguous().mT, positions, 4)


def test_inputs_of_two_dtypes_meet_in_the_wider_one():
    q, kv, positions = inputs(1, 4, 20, 1, 16)
    y = triton.attention_at(q.bfloat16(), kv, positions)
    assert y.dtype == torch.bfloat16
    exact = reference.attention_at(q.bfloat16().double(), kv.double(), positions)
    assert_close("y", y, exact, 1e-2)


@pytest.mark.parametrize(("B", "Q", "T"), [(0, 3, 5), (2, 0, 5), (2, 0, 0)])
def test_empty_problems_have_empty_results_and_zero_gradients(B, Q, T):
    compare(*inputs(B, Q, T, 2, 16), None)


def test_results_repeat_bit_for_bit():
    q, kv, positions = inputs(2, 70, 30, 2, 16)

    def once():
        leaves = q.clone().requires_grad_(), kv.clone().requires_grad_()
        y = triton.attention_at(*leaves, positions)
        return y, *torch.autograd.grad(y.square().sum(), leaves)

    for name, a, b in zip(("y", *NAMES), once(), once(), strict=True):
        assert_close(name, a, b, 1e-30)


def test_the_gradient_of_keys_and_values_is_contiguous():
    """The projection of keys and values then takes it without a copy."""
    q, kv, positions = inputs(2, 6, 20, 2, 16)
    gradients = []
    kv.requires_grad_()
    halves = kv * 1
    halves.register_hook(gradients.append)
    triton.attention_at(q, halves, positions).sum().backward()
    assert gradients[0].is_contiguous()
    assert_close("kv", kv.grad, gradients[0], 1e-30)


def test_wide_heads_and_float64_are_left_to_the_reference():
    for q, kv, positions in (inputs(1, 3, 9, 1, 130), inputs(1, 3, 9, 1, 16, torch.float64)):
        with pytest.raises(UserError, match="cannot run attention_at"):
            attention_at(q, kv, positions, backend="triton")
        y = attention_at(q, kv, positions)
        assert_close("y", y, reference.attention_at(q, kv, positions), 1e-5)


def test_shape_propagation_agrees_with_the_kernels():
    q, kv, positions = inputs(2, 7, 20, 2, 16)
    torch.library.opcheck(
        torch.ops.recall_bench.attention_at.default,
        (q.requires_grad_(), kv.requires_grad_(), positions, 8),
        test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
    )
    compare(q, kv, positions, 8)


@pytest.mark.parametrize("window", [None, 3])
def test_it_compiles_into_one_graph(window):
    q, kv, positions = inputs(2, 7, 20, 2, 16)

    def doubled(q, kv):
        return 2 * attention_at(q, kv + 1, positions, window, backend="triton")

    check(
        torch.compile(doubled, backend="aot_eager", fullgraph=True),
        lambda q, kv: 2 * reference.attention_at(q, kv + 1, positions, window),
        (q, kv),
        1e-5,
        NAMES,
    )


@on_gpu
@pytest.mark.parametrize(("Q", "T"), [(4, 64), (16, 65), (17, 128), (64, 256), (200, 1000)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
class TestOnGPU:
    @pytest.mark.parametrize("window", [None, 16, 64])
    @pytest.mark.parametrize("d", [16, 48, 64, 80, 128])
    def test_forward_and_gradients(self, Q, T, dtype, window, d):
        compare(*inputs(3, Q, T, 2, d, dtype), window)

    def test_extreme_scores(self, Q, T, dtype):
        compare(*inputs(2, Q, T, 1, 64, dtype, scale=3.0), None)


@on_gpu
@pytest.mark.parametrize(("Q", "T"), [(4, 64), (30, 128), (64, 256)])
@pytest.mark.parametrize("d", [16, 64, 128])
def test_single_tf32_products_keep_three_digits(tf32, Q, T, d):
    compare(*inputs(3, Q, T, 2, d), None, 6e-3)


@on_gpu
def test_a_cuda_graph_replays_new_positions():
    q, kv, positions = inputs(4, 8, 100, 2, 64)
    q.requires_grad_()
    kv.requires_grad_()

    def step():
        y = triton.attention_at(q, kv, positions)
        return y.detach(), *torch.autograd.grad(y.square().sum(), (q, kv))

    check_replay(step, positions, 100, ("y", *NAMES))
