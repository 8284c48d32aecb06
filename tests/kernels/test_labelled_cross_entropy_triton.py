import pytest
import torch
from comparing import DEVICE, TOLERANCE, assert_close, check, on_gpu, poisoned_memory, random

pytest.importorskip("triton")

from recall_bench.kernels.labelled_cross_entropy import (
    labelled_cross_entropy,
    labelled_losses,
    reference,
    triton,
)

NAMES = ("hidden", "weight")


def inputs(N, V, D, dtype=torch.float32, scale=1.0, ignored=4):
    """hidden and weight with logits of standard deviation ``scale``, and targets.

    Every third row points to its target, so that some rows are right.
    """
    g = torch.Generator().manual_seed(2)
    targets = torch.randint(V, (N,), generator=g)
    targets[torch.randint(4, (N,), generator=g) >= ignored] = -100
    hidden, weight = random(N, D, seed=0, dtype=dtype), random(V, D, seed=1, dtype=dtype)
    hidden[::3] = weight[targets.clamp(min=0)[::3]] * min(1, 4 / D**0.5)
    return hidden * (scale / D**0.5), weight, targets.to(DEVICE)


def compare(hidden, weight, targets, tolerance):
    """Loss, gradients, row losses and correct rows, against float64."""
    check(
        lambda *x: triton.labelled_cross_entropy(*x, targets),
        lambda *x: reference.labelled_cross_entropy(*x, targets),
        (hidden, weight),
        tolerance,
        NAMES,
    )
    with poisoned_memory(), torch.no_grad():
        losses, correct = triton.labelled_losses(hidden, weight, targets)
        exact = hidden.double(), weight.double(), targets
        assert_close("losses", losses, reference.labelled_losses(*exact)[0], tolerance)
    logits = exact[0] @ exact[1].t()
    answer = logits.gather(1, targets.clamp(min=0)[:, None])[:, 0]
    gap = answer - logits.scatter(1, targets.clamp(min=0)[:, None], -torch.inf).amax(1)
    clear = (gap.abs() > tolerance * logits.abs().amax(1)) & (targets != -100)
    assert torch.equal(correct[clear], (gap > 0)[clear])
    assert not correct[targets == -100].any()


@pytest.fixture
def tf32():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize(("N", "V", "D"), [(1, 11, 8), (17, 50, 48), (65, 300, 20), (140, 17, 3)])
def test_sizes_smaller_and_larger_than_a_tile_match_the_reference(N, V, D):
    compare(*inputs(N, V, D), 1e-5)


def test_widths_of_several_chunks_match_the_reference():
    compare(*inputs(20, 70, 300), 1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_matches_the_reference(dtype):
    compare(*inputs(65, 150, 20, dtype), TOLERANCE[dtype])


@pytest.mark.parametrize("scale", [1.0, 1e-9, 1e9])
def test_tf32_is_as_accurate_for_inputs_of_any_size(tf32, scale):
    hidden, weight, targets = inputs(65, 150, 20)
    compare(hidden * scale, weight / scale, targets, 1e-3)


def test_rows_that_ask_nothing_have_no_part_in_anything():
    compare(*inputs(40, 30, 8, ignored=2), 1e-5)


@pytest.mark.parametrize("N", [0, 20])
def test_a_batch_that_asks_nothing_has_no_loss_and_no_gradient(N):
    hidden, weight, targets = inputs(N, 30, 8)
    hidden.requires_grad_()
    with poisoned_memory():
        loss = triton.labelled_cross_entropy(hidden, weight.requires_grad_(), targets * 0 - 100)
        gradients = torch.autograd.grad(loss, (hidden, weight))
    assert_close("loss", loss, torch.zeros_like(loss), 1e-30)
    for gradient in gradients:
        assert_close("gradient", gradient, torch.zeros_like(gradient), 1e-30)
    assert not torch.cat(triton.labelled_losses(hidden, weight, targets * 0 - 100)).any()


def test_logits_of_a_hundred_match_the_reference():
    hidden, weight, targets = inputs(40, 60, 16, scale=40.0)
    assert (hidden @ weight.t()).abs().max() > 100
    compare(hidden, weight, targets, 5e-5)  # float32 holds a logit of 100 to 8e-6


def test_the_loss_of_a_certain_answer_vanishes_and_is_never_negative(tf32):
    weight = 10 * torch.eye(24, device=DEVICE)
    targets = torch.arange(24, device=DEVICE)
    losses, correct = triton.labelled_losses(10 * weight, weight, targets)
    assert_close("losses", losses, torch.zeros_like(losses), 1e-6)
    assert (losses >= 0).all()
    assert correct.all()


def test_transposed_inputs_match_the_reference():
    hidden, weight, targets = inputs(30, 40, 20)
    compare(hidden.t().contiguous().t(), weight.t().contiguous().t(), targets, 1e-5)
    compare(hidden[::2, ::2], weight[:, ::2], targets[::2], 1e-5)


def test_the_first_of_several_largest_logits_counts():
    V = 140
    hidden, weight = torch.ones(V, 1, device=DEVICE), torch.zeros(V, 1, device=DEVICE)
    targets = torch.arange(V, device=DEVICE)
    losses, correct = triton.labelled_losses(hidden, weight, targets)
    assert_close("losses", losses, torch.full_like(losses, V).log(), 1e-6)
    assert torch.equal(correct, targets == 0)
    weight[131:] = 1
    assert torch.equal(triton.labelled_losses(hidden, weight, targets)[1], targets == 131)


@pytest.mark.filterwarnings("ignore:invalid value")  # numpy, in the interpreter
def test_a_hidden_vector_that_is_not_finite_shows_in_the_loss():
    hidden, weight, targets = inputs(20, 30, 8)
    hidden[3] = torch.nan
    losses, _ = triton.labelled_losses(hidden, weight, targets)
    finite = torch.arange(20, device=DEVICE) != 3
    assert losses[3].isnan()
    expected, _ = reference.labelled_losses(hidden, weight, targets)
    assert_close("losses", losses[finite], expected[finite], 1e-5)


def test_two_runs_agree_to_the_last_bit():
    hidden, weight, targets = inputs(70, 300, 8)
    runs = []
    for _ in range(2):
        tensors = hidden.detach().requires_grad_(), weight.detach().requires_grad_()
        loss = triton.labelled_cross_entropy(*tensors, targets)
        runs.append((loss, *torch.autograd.grad(loss, tensors)))
    for name, first, second in zip(("loss", *NAMES), *runs, strict=True):
        assert torch.equal(first, second), name
    assert_close("loss", runs[0][0], runs[1][0], 1e-30)


def test_autocast_returns_gradients_in_the_dtype_of_the_parameters():
    hidden, weight, targets = inputs(65, 150, 20)
    with torch.autocast(DEVICE, torch.bfloat16):
        compare(hidden, weight, targets, 1e-2)


def test_shape_propagation_agrees_with_the_kernels():
    hidden, weight, targets = inputs(20, 30, 8)
    for op, utilities in (
        (
            "labelled_cross_entropy",
            ("test_schema", "test_faketensor", "test_autograd_registration"),
        ),
        ("labelled_losses", ("test_schema", "test_faketensor")),
    ):
        torch.library.opcheck(
            getattr(torch.ops.recall_bench, op).default,
            (hidden.requires_grad_(), weight.requires_grad_(), targets, "tf32"),
            test_utils=utilities,
        )
    meta = [x.to("meta") for x in (hidden, weight, targets)]
    assert labelled_cross_entropy(*meta).shape == ()
    assert [(x.shape, x.dtype) for x in labelled_losses(*meta)] == [
        ((20,), torch.float32),
        ((20,), torch.bool),
    ]
    compare(hidden, weight, targets, 1e-5)


def test_it_compiles_into_one_graph(tf32):
    hidden, weight, targets = inputs(20, 30, 8)
    compiled = torch.compile(labelled_cross_entropy, backend="eager", fullgraph=True)
    loss = compiled(hidden.requires_grad_(), weight, targets, backend="triton")
    expected = triton.labelled_cross_entropy(hidden, weight, targets)
    gradients = (torch.autograd.grad(x, hidden)[0] for x in (loss, expected))
    assert_close("loss", loss, expected, 1e-6)
    assert_close("gradient", *gradients, 1e-6)


@on_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("N", [1, 17, 63, 65, 1000, 5000])
class TestOnGPU:
    @pytest.mark.parametrize("D", [8, 48, 64, 100, 128, 256, 300, 1024])
    @pytest.mark.parametrize("V", [11, 512, 8195])
    def test_forward_and_gradients(self, N, V, D, dtype):
        compare(*inputs(N, V, D, dtype, scale=3.0, ignored=3), TOLERANCE[dtype])

    @pytest.mark.parametrize("D", [48, 64, 128, 256])
    def test_extreme_logits(self, N, D, dtype):
        hidden, weight, targets = inputs(N, 8192, D, dtype, scale=25.0)
        rounding = 2**-22 * (hidden.float() @ weight.float().t()).abs().max().item()  # of exp
        compare(hidden, weight, targets, max(TOLERANCE[dtype], rounding))


@on_gpu
@pytest.mark.parametrize("D", [48, 64, 128, 256, 1024])
@pytest.mark.parametrize("N", [1, 65, 1000, 16384])
def test_on_a_gpu_tf32_matches_the_reference(tf32, N, D):
    compare(*inputs(N, 8192, D, scale=3.0), 5e-3)


@on_gpu
def test_a_large_vocabulary_and_many_rows_fit():
    hidden, weight, targets = inputs(65536, 50_000, 64, torch.bfloat16)
    tensors = hidden.requires_grad_(), weight.requires_grad_()
    loss = triton.labelled_cross_entropy(*tensors, targets)
    gradients = torch.autograd.grad(loss, tensors)
    part = slice(0, 1000)
    exact = hidden[part].detach().double().requires_grad_(), weight.detach().double()
    expected = reference.labelled_cross_entropy(*exact, targets[part])
    (wanted,) = torch.autograd.grad(expected * (1000 / 65536), exact[0])
    assert_close("gradient of hidden", gradients[0][part], wanted, 1e-2)
    # Every row's gradient of the logits sums to zero, so this projection of d_weight does as well.
    assert gradients[1].double().sum(0).norm() < 1e-2 * gradients[1].double().norm()


@on_gpu
def test_a_replayed_graph_reads_the_current_inputs(tf32):
    hidden, weight, targets = inputs(300, 512, 48)
    tensors = hidden.requires_grad_(), weight.requires_grad_()

    def step():
        loss = triton.labelled_cross_entropy(*tensors, targets)
        with torch.no_grad():
            evaluation = triton.labelled_losses(hidden, weight, targets)
        return loss.detach(), *evaluation, *torch.autograd.grad(loss, tensors)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = step()
    for _ in range(2):
        graph.replay()
        for name, got, want in zip(
            ("loss", "losses", "correct", *NAMES), outputs, step(), strict=True
        ):
            assert_close(name, got.double(), want.double(), 1e-30)
        with torch.no_grad():
            hidden.mul_(3.0)
            targets[:50] = -100
