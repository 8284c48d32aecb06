import pytest
import torch
from comparing import TOLERANCE, assert_close, check, check_replay_after, on_gpu, random

pytest.importorskip("triton")

from recall_bench.kernels.head_norm import head_norm, reference, triton

NAMES = ("y", "gate", "weight", "bias")
EPS = 1e-3


def inputs(rows, heads, width, dtype=torch.float32, scale=1.0):
    """As in RWKV, the recurrence's outputs are float32, and their gates may be narrower."""
    y = scale * random(*rows, heads, width, seed=0)
    gate = random(*rows, heads * width, seed=1, dtype=dtype)
    return [y, gate, random(heads * width, seed=2), random(heads * width, seed=3)]


def ours(*tensors):
    return triton.head_norm(*tensors, EPS)


def exact(*tensors):
    return reference.head_norm(*tensors, EPS)


def compare(tensors):
    check(ours, exact, tensors, TOLERANCE[tensors[1].dtype], NAMES)


@pytest.mark.parametrize(
    ("rows", "heads", "width"),
    [((2, 5), 3, 4), ((7,), 1, 16), ((3, 1), 8, 1), ((600,), 2, 5), ((0, 4), 2, 4)],
)
def test_heads_and_widths_match_the_reference(rows, heads, width):
    compare(inputs(rows, heads, width))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_gates_match_the_reference(dtype):
    compare(inputs((3, 5), 2, 8, dtype))


@pytest.mark.parametrize("scale", [1e-3, 50.0])
def test_small_and_large_outputs_match_the_reference(scale):
    y, gate, *affine = inputs((3, 5), 2, 8, scale=scale)
    compare([y, 50 * gate, *affine])


def test_inputs_of_any_strides_match_the_reference():
    y, gate, weight, bias = inputs((4, 5), 2, 8)
    wide = torch.cat([gate, gate], -1)[..., :16]
    compare([y.transpose(0, 1).contiguous().transpose(0, 1), wide, weight, bias])


def test_the_reference_runs_on_a_cpu_and_wherever_rows_are_too_wide():
    tensors = inputs((3, 5), 2, 8)
    assert_close("output", head_norm(*tensors, EPS), exact(*tensors), 1e-6)
    assert "4096" in (triton.unavailable("head_norm", torch.empty(1, 65, 64)) or "")


def test_results_repeat_bit_for_bit():
    tensors = [x.requires_grad_() for x in inputs((300,), 3, 5)]

    def gradients():
        out = ours(*tensors)
        return torch.autograd.grad(out, tensors, out.detach())

    for name, a, b in zip(NAMES, gradients(), gradients(), strict=True):
        assert_close(name, a, b, 1e-30)


def test_shape_propagation_agrees_with_the_kernels():
    tensors = inputs((2, 5), 2, 4)
    torch.library.opcheck(
        torch.ops.recall_bench.head_norm.default,
        (*(x.requires_grad_() for x in tensors), EPS),
        test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
    )
    compare(tensors)


def test_it_compiles_into_one_graph():
    compiled = torch.compile(lambda y, *o: ours(y + 1, *o), backend="aot_eager", fullgraph=True)
    check(compiled, lambda y, *o: exact(y + 1, *o), inputs((2, 5), 2, 4), 1e-5, NAMES)


@on_gpu
class TestOnGPU:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    @pytest.mark.parametrize(("heads", "width"), [(8, 16), (12, 32), (2, 64), (1, 128), (5, 48)])
    @pytest.mark.parametrize("length", [1, 17, 65, 1000])
    def test_outputs_and_gradients(self, length, heads, width, dtype):
        compare(inputs((3, length), heads, width, dtype))

    def test_a_graph_repeats_the_kernels(self):
        tensors = [x.requires_grad_() for x in inputs((4, 64), 8, 16)]

        def step():
            out = ours(*tensors)
            return out.detach(), *torch.autograd.grad(out.sin().sum(), tensors)

        other = random(4, 64, 8, 16, seed=4)
        check_replay_after(lambda: tensors[0].data.copy_(other), step, ("out", *NAMES))
