import pytest
import torch
from comparing import (
    TOLERANCE,
    assert_close,
    check,
    on_gpu,
    poisoned_memory,
    random,
    transposed,
)

pytest.importorskip("triton")

from recall_bench.kernels.taylor_attention import (
    TaylorState,
    naive,
    packed_size,
    reference,
    taylor_attention,
    triton,
)

NAMES = ("q", "k", "v", "kv", "z")
SIZES = [(16, 64), (16, 128), (8, 48), (24, 64), (32, 128)]


def inputs(B, T, H, d, dv, dtype, *, initial=False, scale=1.0):
    q, k, v = (random(B, T, H, n, seed=i, dtype=dtype) for i, n in enumerate((d, d, dv)))
    q, k = q * scale, k * scale
    if not initial:
        return [q, k, v, None, None]
    earlier = random(B, 5, H, d, seed=3), random(B, 5, H, dv, seed=4)
    _, state = reference.taylor_attention(earlier[0], earlier[0], earlier[1], return_state=True)
    return [q, k, v, *state]


def run(module, q, k, v, kv, z):
    state = None if kv is None else TaylorState(kv, z)
    y, (kv, z) = module.taylor_attention(q, k, v, initial_state=state, return_state=True)
    return y, kv, z


def compare(tensors, dtype):
    check(
        lambda *x: run(triton, *x), lambda *x: run(reference, *x), tensors, TOLERANCE[dtype], NAMES
    )


def compare_outputs(tensors, dtype, tolerance=None):
    """Compare without any state; a sequence of one span then takes other kernels."""
    check(
        triton.taylor_attention,
        reference.taylor_attention,
        tensors[:3],
        tolerance or TOLERANCE[dtype],
        NAMES[:3],
    )


def compare_step(B, H, d, dv, dtype):
    q, k, v, kv, z = inputs(B, 1, H, d, dv, dtype, initial=True)
    with poisoned_memory():
        y, state = taylor_attention(
            q, k, v, initial_state=(kv, z), return_state=True, backend="triton"
        )
    exact = TaylorState(kv.double(), z.double())
    expected, new = naive.taylor_attention(q.double(), k.double(), v.double(), exact)
    assert_close("y", y, expected, TOLERANCE[dtype])
    assert_close("kv", state.kv, new.kv, 1e-5)
    assert_close("z", state.z, new.z, 1e-5)


@pytest.fixture
def many_spans(monkeypatch):
    """Cut even short sequences into spans, of one tile."""
    monkeypatch.setattr(triton, "SPAN", 64)


@pytest.mark.parametrize(("d", "dv"), [(16, 80), (5, 20), (24, 18)])
def test_sizes_that_need_padding_match_the_reference(d, dv):
    compare(inputs(1, 18, 1, d, dv, torch.float32, initial=True), torch.float32)


@pytest.mark.parametrize(("d", "T"), [(16, 130), (32, 20)])
def test_a_sequence_of_one_span_matches_the_reference(d, T):
    compare_outputs(inputs(1, T, 2, d, 16, torch.float32), torch.float32)


def test_spans_of_a_sequence_match_the_reference(many_spans):
    compare(inputs(1, 130, 1, 16, 16, torch.float32, initial=True), torch.float32)


def test_bfloat16_without_an_initial_state_matches_the_reference():
    compare(inputs(2, 65, 1, 16, 16, torch.bfloat16), torch.bfloat16)


def test_transposed_inputs_match_the_reference():
    q, k, v, *state = inputs(1, 33, 2, 16, 16, torch.float32)
    compare([transposed(q), transposed(k), transposed(v), *state], torch.float32)


def test_scores_up_to_fifty_match_the_reference():
    compare(inputs(1, 40, 1, 16, 16, torch.float32, scale=3.0), torch.float32)


@pytest.mark.parametrize(("B", "T"), [(0, 5), (2, 0)])
def test_an_empty_problem_hands_the_state_through(B, T):
    compare(inputs(B, T, 2, 16, 8, torch.float32, initial=True), torch.float32)


@pytest.mark.parametrize(("d", "dv"), [(16, 64), (5, 20), (24, 16)])
def test_a_step_matches_the_reference(d, dv):
    compare_step(2, 2, d, dv, torch.float32)


def test_shape_propagation_agrees_with_the_kernels():
    q, k, v, kv, z = inputs(2, 3, 2, 16, 20, torch.float32, initial=True)
    torch.library.opcheck(
        torch.ops.recall_bench.taylor_attention.default,
        (q, k, v, kv, z, True),
        test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
    )
    assert_close("features", torch.tensor(kv.shape[2]), torch.tensor(packed_size(16)), 1e-9)


@pytest.mark.parametrize("used", [(0,), (1,), (2,), (0, 2)])
def test_gradients_reach_the_inputs_from_whichever_outputs_are_used(used):
    def some(module, *tensors):
        outputs = run(module, *tensors)
        return tuple(outputs[i] for i in used)

    tensors = inputs(1, 20, 1, 16, 16, torch.float32, initial=True)
    ours = [x.detach().requires_grad_() for x in tensors]
    exact = [x.detach().double().requires_grad_() for x in tensors]
    for module, leaves in ((triton, ours), (reference, exact)):
        sum(y.square().sum() for y in some(module, *leaves)).backward()
    for name, a, b in zip(NAMES, ours, exact, strict=True):
        if b.grad is not None:
            assert_close(f"gradient of {name}", a.grad, b.grad, 1e-5)


def test_a_compiled_function_keeps_results_and_gradients():
    def scaled(q, k, v):
        return 2 * triton.taylor_attention(q, k, v + 1)

    compiled = torch.compile(scaled, backend="aot_eager", fullgraph=True)
    tensors = inputs(1, 20, 2, 16, 16, torch.float32)[:3]
    check(compiled, scaled_reference, tensors, 1e-5, NAMES[:3])


def scaled_reference(q, k, v):
    return 2 * reference.taylor_attention(q, k, v + 1)


@on_gpu
@pytest.mark.parametrize("T", [1, 17, 63, 64, 65, 1000, 2048])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
class TestOnGPU:
    @pytest.mark.parametrize(("d", "dv"), SIZES)
    def test_forward_state_and_gradients(self, T, dtype, d, dv):
        compare(inputs(2, T, 3, d, dv, dtype, initial=True), dtype)

    @pytest.mark.parametrize(("d", "dv"), SIZES)
    def test_forward_and_gradients_without_a_state(self, T, dtype, d, dv):
        compare_outputs(inputs(2, T, 3, d, dv, dtype), dtype)

    def test_many_spans(self, T, dtype, many_spans):
        compare(inputs(2, T, 3, 16, 64, dtype, initial=True), dtype)

    def test_extreme_scores_without_an_initial_state(self, T, dtype):
        tensors = inputs(2, max(T, 17), 3, 16, 64, dtype, scale=3.0)
        compare([transposed(x) if x is not None else None for x in tensors], dtype)

    def test_step(self, T, dtype):
        compare_step(T % 100 + 1, 3, 16, 64, dtype)


@on_gpu
@pytest.mark.parametrize("T", [64, 256, 300])
@pytest.mark.parametrize(("d", "dv"), SIZES)
def test_single_tf32_products_keep_three_digits(tf32, d, dv, T):
    compare_outputs(inputs(2, T, 3, d, dv, torch.float32), torch.float32, 4e-3)


@on_gpu
def test_two_tokens_of_extreme_scores_lose_no_more_than_the_rounding_of_the_output_does():
    """One weight is nearly 1: dy.v - dy.y cancels, and y is known to eight bits only.

    That costs the exact gradient as much, computed in float64 from y as bfloat16 holds it.
    """
    leaves = inputs(64, 2, 3, 16, 64, torch.bfloat16, scale=3.0)[:3]
    dy = random(64, 2, 3, 64, seed=9, dtype=torch.bfloat16)
    ours = [x.detach().requires_grad_() for x in leaves]
    got = torch.autograd.grad(triton.taylor_attention(*ours), ours, dy)
    exact, rounded = ([x.detach().double().requires_grad_() for x in leaves] for _ in range(2))
    y = reference.taylor_attention(*exact)
    want = torch.autograd.grad(y, exact, dy.double())
    q, k, v = (x.transpose(1, 2) for x in rounded)
    s = q @ k.mT / 4
    weights = (1 + s + s * s / 2).tril()
    upstream = dy.double().transpose(1, 2) / weights.detach().sum(-1, keepdim=True)
    y_rounded = y.detach().bfloat16().double().transpose(1, 2)
    surrogate = (upstream * (weights @ v - weights.sum(-1, keepdim=True) * y_rounded)).sum()
    least = torch.autograd.grad(surrogate, rounded)
    for name, a, b, c in zip(NAMES, got, want, least, strict=False):
        assert_close(name, a, b, 4e-3 + 3 * ((c - b).norm() / b.norm()).item())


@on_gpu
@pytest.mark.filterwarnings("ignore")
def test_flash_linear_attentions_naive_form_agrees():
    naive = pytest.importorskip("fla.ops.based.naive").naive_parallel_based

    def theirs(q, k, v):
        heads_first = (x.transpose(1, 2) for x in (q, k, v))
        return naive(*heads_first, scale=q.shape[-1] ** -0.5, use_norm=True).transpose(1, 2)

    tensors = inputs(2, 1000, 3, 16, 64, torch.float32)[:3]
    check(triton.taylor_attention, theirs, tensors, 1e-5, NAMES[:3])


@on_gpu
class TestGraphsOnGPU:
    def test_a_cuda_graph_replays_forward_and_backward(self):
        def step():
            y = triton.taylor_attention(*tensors)
            return y, *torch.autograd.grad(y, tensors, torch.ones_like(y))

        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            tensors = [x.requires_grad_() for x in inputs(2, 300, 4, 16, 64, torch.bfloat16)[:3]]
            expected = [x.detach().clone() for x in step()]
            stream.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=stream):
                captured = [x.detach() for x in step()]
            for x in captured:
                x.fill_(float("nan"))
            graph.replay()
        torch.cuda.synchronize()
        for got, want in zip(captured, expected, strict=True):
            assert_close("replay", got, want, 1e-6)

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_torch_compile_keeps_the_results(self):
        tensors = inputs(2, 100, 4, 16, 64, torch.bfloat16)[:3]
        compiled = torch.compile(lambda q, k, v: 2 * triton.taylor_attention(q, k, v + 1))
        q, k, v = tensors
        assert_close("y", compiled(q, k, v), 2 * triton.taylor_attention(q, k, v + 1), 1e-2)
