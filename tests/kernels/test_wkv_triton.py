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

from recall_bench.errors import UserError
from recall_bench.kernels.plumbing import dispatch
from recall_bench.kernels.wkv import reference, triton, wkv

NAMES = ("r", "k", "v", "log_decay", "bonus")
MIXED = (-8.0, 3.0)
"""The lowest and the highest decay parameter: w from 0.9997 to 2e-9."""


def inputs(B, L, H, d, dv, dtype=torch.float32, decays=MIXED):
    r, k, v = (random(B, L, H, n, seed=i, dtype=dtype) for i, n in enumerate((d, d, dv)))
    log_decay = -torch.linspace(*decays, H * d).exp().view(H, d).to(r.device)
    return [r, k, v, log_decay, random(H, d, seed=3)]


def run(module):
    return lambda *tensors: module.wkv(*tensors, return_state=True)


def compare(tensors, tolerance=None):
    check(run(triton), run(reference), tensors, tolerance or TOLERANCE[tensors[0].dtype], NAMES)


@pytest.mark.parametrize("length", [16, 33])
def test_outputs_state_and_gradients_match_the_reference(length):
    compare(inputs(2, length, 2, 4, 4))


@pytest.mark.parametrize(("d", "dv"), [(20, 3), (3, 20), (64, 64), (33, 16)])
def test_sizes_that_need_padding_or_several_programs_match_the_reference(d, dv):
    compare(inputs(1, 18, 2, d, dv))


@pytest.mark.parametrize("decays", [(-8.0, -8.0), (0.0, 0.0), (3.0, 3.0), (-30.0, 9.0)])
def test_the_slowest_and_the_fastest_decays_match_the_reference(decays):
    compare(inputs(1, 70, 1, 8, 4, decays=decays))


@pytest.mark.slow
def test_the_gradient_of_slow_decays_stays_exact_over_a_long_sequence():
    compare(inputs(1, 1000, 1, 8, 4, decays=(-8.0, -2.0)))


def test_bfloat16_matches_the_reference_and_keeps_outputs_in_float32():
    tensors = inputs(1, 20, 2, 8, 8, torch.bfloat16)
    compare(tensors)
    assert [x.dtype for x in run(triton)(*tensors)] == [torch.float32] * 2


def test_outputs_alone_have_all_gradients():
    check(triton.wkv, reference.wkv, inputs(1, 19, 2, 4, 4), 1e-5, NAMES)


def test_the_state_alone_gives_the_gradients_of_its_inputs():
    r, *given, bonus = inputs(1, 19, 2, 4, 4)
    ours, exact = (lambda *x, module=m: run(module)(r, *x, bonus)[1] for m in (triton, reference))
    check(ours, exact, given, 1e-5, NAMES[1:4])


def test_inputs_and_gradients_of_any_strides_match_the_reference():
    r, k, v, log_decay, bonus = inputs(2, 18, 2, 4, 4)
    tensors = [transposed(r), *torch.cat([k, v], -1).split(4, -1)]
    tensors += [log_decay.t().contiguous().t(), bonus.t().contiguous().t()]
    tensors[0] = torch.stack([tensors[0]] * 2, -1)[..., 0]
    compare(tensors)
    ours = [x.detach().requires_grad_() for x in tensors]
    slope, state_slope = random(4, 2, 18, 2, seed=4), random(2, 2, 4, 4, seed=5)
    slopes = slope.permute(1, 2, 3, 0), state_slope.transpose(-1, -2)
    ours, expected = (
        torch.autograd.grad(run(module)(*ours), ours, slopes) for module in (triton, reference)
    )
    for name, a, b in zip(NAMES, ours, expected, strict=True):
        assert_close(f"gradient of {name}", a, b, 1e-5)


@pytest.mark.parametrize("sizes", [(0, 5, 2, 4, 4), (2, 0, 2, 4, 4), (2, 5, 0, 4, 4)])
def test_empty_problems_have_empty_results_and_zero_gradients(sizes):
    tensors = [x.requires_grad_() for x in inputs(*sizes)]
    with poisoned_memory():
        y, state = run(triton)(*tensors)
        gradients = torch.autograd.grad((y, state), tensors, (y, state))
    assert_close("y", y, torch.zeros_like(tensors[2]), 1e-30)
    assert_close("state", state, state.new_zeros(sizes[0], sizes[2], 4, 4), 1e-30)
    for name, x, gradient in zip(NAMES, tensors, gradients, strict=True):
        assert_close(f"gradient of {name}", gradient, torch.zeros_like(x), 1e-30)


def test_results_repeat_bit_for_bit():
    tensors = [x.requires_grad_() for x in inputs(3, 20, 2, 4, 4)]

    def results():
        y, state = run(triton)(*tensors)
        return y, state, *torch.autograd.grad((y, state), tensors, (y.detach(), state.detach()))

    for name, a, b in zip(("y", "state", *NAMES), results(), results(), strict=True):
        assert_close(name, a, b, 1e-30)


def test_wide_heads_and_float64_are_left_to_the_reference():
    wide, double = inputs(1, 3, 1, 65, 4), inputs(1, 3, 1, 4, 4, torch.float64)
    for tensors in (wide, double):
        with pytest.raises(UserError, match="cannot run wkv"):
            wkv(*tensors, backend="triton")
    wide_values = inputs(1, 3, 1, 4, 65)
    exact_decays = inputs(1, 3, 1, 4, 4)
    exact_decays[3] = exact_decays[3].double()
    for tensors in (wide_values, exact_decays):
        y, state = wkv(*tensors, return_state=True, backend="triton")
        expected = run(reference)(*tensors)
        assert y.dtype == expected[0].dtype
        assert_close("y", y, expected[0], 1e-30)
        assert_close("state", state, expected[1], 1e-30)


def test_a_given_state_is_left_to_the_reference(monkeypatch):
    tensors, state = inputs(1, 5, 2, 4, 4), random(1, 2, 4, 4, seed=6)
    with pytest.raises(UserError, match="'triton' cannot run wkv: it starts from the first token"):
        wkv(*tensors, initial_state=state, backend="triton")
    monkeypatch.setenv(dispatch.VARIABLE, "triton")
    y = wkv(*tensors, initial_state=state)
    assert_close("y", y, reference.wkv(*tensors, initial_state=state), 1e-30)


def test_shape_propagation_agrees_with_the_kernels():
    tensors = inputs(2, 5, 2, 4, 3)
    torch.library.opcheck(
        torch.ops.recall_bench.wkv.default,
        tuple(x.requires_grad_() for x in tensors),
        test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
    )
    compare(tensors)


def test_it_compiles_into_one_graph():
    def doubled(module, r, k, v, log_decay, bonus):
        y, state = run(module)(r + 1, k, v, log_decay, bonus)
        return 2 * y, state

    compiled = torch.compile(lambda *x: doubled(triton, *x), backend="aot_eager", fullgraph=True)
    check(compiled, lambda *x: doubled(reference, *x), inputs(1, 17, 1, 4, 4), 1e-5, NAMES)


@on_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("length", [1, 17, 63, 64, 65, 1000, 2048])
class TestOnGPU:
    @pytest.mark.parametrize(
        ("d", "dv"), [(16, 16), (32, 32), (64, 64), (48, 40), (64, 16), (16, 64), (8, 5)]
    )
    def test_outputs_state_and_gradients(self, length, dtype, d, dv):
        compare(inputs(3, length, 2, d, dv, dtype))

    @pytest.mark.parametrize("decays", [(-8.0, -8.0), (0.0, 0.0), (3.0, 3.0), (-30.0, 9.0)])
    def test_slowest_and_fastest_decays(self, length, dtype, decays):
        compare(inputs(2, length, 2, 64, 64, dtype, decays))

    def test_strides(self, length, dtype):
        r, k, v, *shared = inputs(2, length, 2, 32, 32, dtype)
        tensors = [transposed(r), *torch.cat([k, v], -1).split(32, -1)]
        compare([*tensors, *shared])


@on_gpu
@pytest.mark.usefixtures("tf32")
@pytest.mark.parametrize("d", [16, 32, 64])
@pytest.mark.parametrize("length", [65, 1000])
def test_single_tf32_products_on_a_gpu(length, d):
    compare(inputs(3, length, 2, d, d), 5e-3)


@on_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_cuda_graph_replays_with_the_same_results(dtype):
    def step():
        y, state = run(triton)(*tensors)
        slopes = torch.ones_like(y), torch.ones_like(state)
        return y.detach(), state.detach(), *torch.autograd.grad((y, state), tensors, slopes)

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        tensors = [x.requires_grad_() for x in inputs(64, 300, 2, 64, 64, dtype)]
        expected = [x.clone() for x in step()]
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            captured = step()
        for x in captured:
            x.fill_(float("nan"))
        graph.replay()
    torch.cuda.synchronize()
    for name, got, wanted in zip(("y", "state", *NAMES), captured, expected, strict=True):
        assert_close(name, got, wanted, 1e-30)
