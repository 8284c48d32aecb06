import pytest
import torch
from comparing import TOLERANCE, assert_close, check, on_gpu, poisoned_memory, random, transposed

pytest.importorskip("triton")

from recall_bench.kernels.sliding_window_attention import (
    WindowState,
    naive,
    reference,
    sliding_window_attention,
    triton,
)

NAMES = ("q", "k", "v")


def inputs(B, T, H, G, d, dtype, scale=1.0):
    heads = (H, G, G)
    q, k, v = (random(B, T, h, d, seed=i, dtype=dtype) for i, h in enumerate(heads))
    return [q * scale, k * scale, v]


def compare(tensors, window, dtype, tolerance=None):
    check(
        lambda *x: triton.sliding_window_attention(*x, window),
        lambda *x: reference.sliding_window_attention(*x, window),
        tensors,
        tolerance or TOLERANCE[dtype],
        NAMES,
    )


def compare_steps(B, T, H, G, d, window, dtype):
    """Decoding token by token agrees with the recurrence, and so does the ring."""
    tensors = inputs(B, T, H, G, d, dtype)
    state = sliding_window_attention.empty_state(*tensors, window)
    outputs = []
    with poisoned_memory():
        for t in range(T):
            token = [x[:, t : t + 1] for x in tensors]
            y, state = sliding_window_attention(
                *token, window, initial_state=state, state_out=state, backend="triton"
            )
            outputs.append(y)
    y, ring = naive.sliding_window_attention(*(x.double() for x in tensors), window)
    assert_close("y", torch.cat(outputs, 1), y, TOLERANCE[dtype])
    for name, got, expected in zip(WindowState._fields, state, ring, strict=True):
        assert torch.equal(got.double(), expected.double()), name


@pytest.mark.parametrize("window", [1, 7, 64, 1000])
def test_windows_shorter_and_longer_than_the_sequence_match_the_reference(window):
    tensors = inputs(1, 65, 2, 2, 16, torch.float32)
    if window == 1:  # with a single key, q and k get no gradient
        y = triton.sliding_window_attention(*tensors, 1)
        assert_close("y", y, tensors[2], 1e-5)
    else:
        compare(tensors, window, torch.float32)


@pytest.mark.parametrize("T", [17, 130])
def test_grouped_heads_match_the_reference(T):
    compare(inputs(2, T, 4, 2, 20, torch.float32), 16, torch.float32)


@pytest.mark.filterwarnings("ignore:Memory Efficient attention:UserWarning")
def test_a_token_with_gradients_matches_the_recurrence():
    state = naive.sliding_window_attention(*inputs(2, 5, 4, 2, 16, torch.float32), 8)[1]

    def run(function, **options):
        def call(q, k, v, keys, values):
            given = WindowState(keys, values, state.position)
            y, new = function(q, k, v, 8, initial_state=given, **options)
            return y, new.keys, new.values

        return call

    check(
        run(sliding_window_attention, return_state=True, backend="triton"),
        run(naive.sliding_window_attention),
        [*inputs(2, 1, 4, 2, 16, torch.float32), state.keys, state.values],
        1e-5,
        (*NAMES, "keys", "values"),
    )


def test_bfloat16_matches_the_reference():
    compare(inputs(1, 100, 1, 1, 32, torch.bfloat16), 64, torch.bfloat16)


def test_transposed_inputs_match_the_reference():
    tensors = [transposed(x) for x in inputs(1, 70, 2, 1, 16, torch.float32)]
    compare(tensors, 8, torch.float32)


def test_scores_up_to_fifty_match_the_reference():
    compare(inputs(1, 40, 1, 1, 16, torch.float32, scale=3.0), 16, torch.float32)


@pytest.mark.parametrize(("B", "T"), [(0, 5), (2, 0)])
def test_empty_problems_have_empty_results(B, T):
    compare(inputs(B, T, 2, 2, 16, torch.float32), 4, torch.float32)


@pytest.mark.parametrize(("H", "G", "window"), [(2, 2, 4), (6, 2, 3), (1, 1, 32)])
def test_steps_match_the_parallel_form(H, G, window):
    compare_steps(2, 7, H, G, 20, window, torch.float32)


def test_shape_propagation_agrees_with_the_kernels():
    q, k, v = (x.requires_grad_() for x in inputs(1, 20, 2, 1, 16, torch.float32))
    torch.library.opcheck(
        torch.ops.recall_bench.sliding_window_attention.default,
        (q, k, v, 8),
        test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
    )
    compare([q, k, v], 8, torch.float32)


@on_gpu
@pytest.mark.parametrize("T", [17, 63, 64, 65, 1000, 2048])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
class TestOnGPU:
    @pytest.mark.parametrize(("window", "d"), [(64, 64), (16, 16), (100, 128), (5000, 80)])
    def test_forward_and_gradients(self, T, dtype, window, d):
        compare(inputs(2, T, 4, 2, d, dtype), window, dtype)

    def test_extreme_scores(self, T, dtype):
        compare([transposed(x) for x in inputs(2, T, 3, 3, 64, dtype, scale=3.0)], 64, dtype)


@on_gpu
@pytest.mark.parametrize("window", [8, 64, 1024])
@pytest.mark.parametrize("d", [64, 128, 256])
def test_single_tf32_products_keep_three_digits(tf32, d, window):
    compare(inputs(2, 256, 4, 2, d, torch.float32), window, torch.float32, 4e-3)


@on_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("T", [64, 300])
def test_the_widest_heads_on_a_gpu_match_the_reference(T, dtype):
    compare(inputs(1, T, 2, 1, 256, dtype), 100, dtype)


@on_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_steps_on_a_gpu_match_the_parallel_form(dtype):
    compare_steps(3, 100, 4, 2, 64, 64, dtype)


@on_gpu
def test_torchs_windowed_attention_agrees():
    varlen = pytest.importorskip("torch.nn.attention.varlen")
    q, k, v = inputs(1, 1000, 4, 4, 64, torch.bfloat16)
    ends = torch.tensor([0, 1000], dtype=torch.int32, device=q.device)
    theirs = varlen.varlen_attn(q[0], k[0], v[0], ends, ends, 1000, 1000, window_size=(63, 0))
    assert_close("y", triton.sliding_window_attention(q, k, v, 64)[0], theirs, 1e-2)
