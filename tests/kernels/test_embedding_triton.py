import pytest
import torch
from comparing import DEVICE, TOLERANCE, assert_close, check, on_gpu, random

pytest.importorskip("triton")

from recall_bench.kernels.embedding import embedding, reference, token_order, triton


def draw(shape, V, zeros=0.0):
    """Random tokens, a share of them 0."""
    g = torch.Generator().manual_seed(0)
    tokens = torch.randint(V, shape, generator=g) * (torch.rand(shape, generator=g) >= zeros)
    return tokens.to(DEVICE)


def compare(tokens, V, D, dtype=torch.float32, ordered=False):
    order = token_order(tokens, V) if ordered else None
    check(
        lambda weight: triton.embedding(tokens, weight, order),
        lambda weight: reference.embedding(tokens, weight),
        [random(V, D, seed=1, dtype=dtype)],
        TOLERANCE[dtype],
        ["weight"],
    )


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize(("shape", "V", "D"), [((1,), 1, 1), ((3, 7), 50, 20), ((2, 3, 4), 5, 8)])
def test_gradients_match_the_reference(shape, V, D, ordered):
    compare(draw(shape, V), V, D, ordered=ordered)


@pytest.mark.parametrize("length", [128, 129, 257, 600])
def test_tokens_of_several_pieces_match_the_reference(length):
    compare(draw((2, length), 20, zeros=0.7), 20, 6)
    compare(torch.zeros(length, dtype=torch.int32, device=DEVICE), 2, 6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_sums_in_float32(dtype):
    compare(draw((2, 300), 3), 3, 6, dtype)


def test_a_gradient_that_is_not_contiguous_matches_the_reference():
    tokens, weight = draw((3, 7), 10), random(10, 6, seed=1).requires_grad_()
    slope = random(6, 7, 3, seed=2).transpose(0, 2)
    ours, expected = (module.embedding(tokens, weight) for module in (triton, reference))
    gradients = (torch.autograd.grad(y, weight, slope)[0] for y in (ours, expected))
    assert_close("gradient", *gradients, 1e-6)


def test_a_lookup_without_a_gradient_takes_the_same_rows_of_a_transposed_matrix():
    tokens, weight = draw((5, 70), 10), random(6, 10, seed=1).t()
    assert_close("rows", triton.embedding(tokens.t(), weight), weight[tokens.t()], 1e-30)


def test_no_tokens_have_a_gradient_of_zero():
    weight = random(5, 6, seed=1).requires_grad_()
    (gradient,) = torch.autograd.grad(triton.embedding(draw((0, 3), 5), weight).sum(), weight)
    assert_close("gradient", gradient, torch.zeros_like(weight), 1e-30)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_dropout_zeroes_its_share_alike_in_both_passes(p):
    tokens, weight = torch.arange(20, device=DEVICE), random(20, 40, seed=1).exp()
    seed = torch.tensor(5, device=DEVICE)
    y = triton.embedding(tokens, weight.requires_grad_(), None, round(p * reference.LEVELS), seed)
    (backward,) = torch.autograd.grad(y.sum(), weight)  # every token has one position
    forward = (y / weight).detach()
    assert_close("factor", backward, forward, 1e-6)
    kept = forward != 0
    assert_close("kept", forward[kept], torch.full_like(forward[kept], 1 / (1 - p)), 1e-4)
    assert abs(kept.double().mean() - (1 - p)) < 4 * (p * (1 - p) / kept.numel()) ** 0.5
    # Neighbours are as independent as drawn: every column and row has both.
    assert 0 < kept.double().mean(0).std() < 0.2
    assert 0 < kept.double().mean(1).std() < 0.2


def test_the_seed_selects_the_dropped_elements():
    tokens, weight = draw((300,), 7), random(7, 40, seed=1).exp()

    def run(seed):
        return triton.embedding(tokens, weight, None, 30000, torch.tensor(seed, device=DEVICE))

    first, other = run(1), run(2)
    assert_close("same seed", run(1), first, 1e-30)
    assert 0.4 < ((first == 0) == (other == 0)).double().mean() < 0.6


def test_two_runs_agree_to_the_last_bit():
    tokens, weight = draw((2, 700), 9, zeros=0.5), random(9, 6, seed=1).requires_grad_()
    slope = random(2, 700, 6, seed=2)
    first, second = (
        torch.autograd.grad(triton.embedding(tokens, weight), weight, slope)[0] for _ in range(2)
    )
    assert_close("gradient", first, second, 1e-30)


def test_shape_propagation_agrees_with_the_kernels():
    tokens, weight = draw((2, 300), 7), random(7, 6, seed=1).requires_grad_()
    torch.library.opcheck(
        torch.ops.recall_bench.embedding.default,
        (weight, tokens, torch.tensor(3, device=DEVICE), 6554, *token_order(tokens, 7)),
        test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
    )
    assert embedding(tokens.to("meta"), weight.to("meta")).shape == (2, 300, 6)
    compare(tokens, 7, 6)


@on_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("D", [48, 64, 100, 256])
@pytest.mark.parametrize("zeros", [0.0, 0.8])
def test_on_a_gpu_gradients_match_the_reference(zeros, D, dtype):
    compare(draw((256, 130), 8192, zeros), 8192, D, dtype, ordered=True)


@on_gpu
def test_a_replayed_graph_reads_the_order_that_is_there():
    weight = random(50, 16, seed=1).requires_grad_()
    batches = [draw((4, 300), 50, zeros) for zeros in (0.0, 0.9)]
    tokens, order = batches[0].clone(), token_order(batches[0], 50)
    slope = random(4, 300, 16, seed=2)

    def step():
        return torch.autograd.grad(triton.embedding(tokens, weight, order), weight, slope)[0]

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        gradient = step()
    for batch in batches:
        tokens.copy_(batch)
        for buffer, value in zip(order, token_order(batch, 50), strict=True):
            buffer.copy_(value)
        graph.replay()
        expected = torch.autograd.grad(reference.embedding(batch, weight), weight, slope)[0]
        assert_close("gradient", gradient, expected, 1e-5)


@on_gpu
def test_a_replayed_graph_that_advances_the_seed_drops_anew():
    tokens, weight = draw((4, 300), 50), random(50, 16, seed=1)
    seed = torch.tensor(0, device=DEVICE)
    triton.embedding(tokens, weight, None, 30000, seed)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        seed.add_(1)
        y = triton.embedding(tokens, weight, None, 30000, seed)
    drawn = []
    for step in (1, 2):
        graph.replay()
        drawn.append(y.clone())
        expected = triton.embedding(tokens, weight, None, 30000, torch.tensor(step, device=DEVICE))
        assert_close("rows", y, expected, 1e-30)
    assert not torch.equal(*drawn)
