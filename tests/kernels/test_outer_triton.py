import pytest
import torch
from comparing import TOLERANCE, assert_close, check, check_replay_after, on_gpu, random

pytest.importorskip("triton")

from recall_bench.errors import UserError
from recall_bench.kernels.outer import contract, outer, reference, triton

LAYOUTS = ["channels beside each other", "tokens beside each other"]


def draw(batch, length, width, p, seed, layout=LAYOUTS[0], dtype=torch.float32):
    """(batch, length, heads, p), laid out like the output of a projection or a long convolution."""
    if layout == LAYOUTS[0]:
        x = random(batch, length, width, seed=seed, dtype=dtype)
    else:
        x = random(width, batch, length, seed=seed, dtype=dtype).permute(1, 2, 0)
    return x.unflatten(2, (-1, p))


def compare_outer(k, v):
    tolerance = max(TOLERANCE[x.dtype] for x in (k, v))
    check(triton.outer, reference.outer, [k, v], tolerance, ("k", "v"))


def compare_contract(q, y):
    tolerance = max(TOLERANCE[x.dtype] for x in (q, y))
    check(triton.contract, reference.contract, [q, y], tolerance, ("q", "y"))


def compare(length, width, p, layout=LAYOUTS[0], batch=3, dtype=torch.float32):
    sizes = batch, length, width, p
    k, v = draw(*sizes, 0, layout, dtype), draw(*sizes, 1, dtype=dtype)
    compare_outer(k, v)
    compare_outer(v, k)
    y = random(width // p, batch, p, p, length, seed=2, dtype=dtype).transpose(0, 1)
    compare_contract(k, y)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("length", [1, 17, 65])
@pytest.mark.parametrize(
    ("width", "p"), [(4, 1), (4, 2), (4, 4), (6, 1), (6, 2), (40, 1), (40, 2), (40, 4), (40, 8)]
)
def test_outputs_and_gradients_match_the_reference(width, p, length, layout):
    compare(length, width, p, layout)


@pytest.mark.parametrize("shape", [(0, 5, 4, 2), (2, 0, 4, 2), (2, 5, 0, 2)])
def test_empty_inputs_match_the_reference(shape):
    batch, length, heads, p = shape
    compare_outer(random(*shape, seed=0), random(*shape, seed=1))
    compare_contract(random(*shape, seed=0), random(batch, heads, p, p, length, seed=1))


def test_bfloat16_matches_the_reference():
    compare(17, 40, 2, dtype=torch.bfloat16)


@pytest.mark.parametrize("wide", [0, 1])
def test_inputs_of_two_dtypes_match_the_reference(wide):
    dtypes = [torch.bfloat16, torch.float32]
    first, second = (
        draw(2, 17, 8, 2, 0, dtype=dtypes[wide]),
        draw(2, 17, 8, 2, 1, dtype=dtypes[1 - wide]),
    )
    compare_outer(first, second)
    assert triton.outer(first, second).dtype == torch.float32
    y = random(2, 4, 2, 2, 17, seed=1, dtype=dtypes[1 - wide])
    compare_contract(first, y)
    assert triton.contract(first, y).dtype == first.dtype


def test_inputs_and_gradients_of_any_strides_match_the_reference():
    k, v = random(2, 3, 5, 7, seed=0).permute(1, 3, 2, 0), random(3, 1, 5, 4, seed=1)[..., ::2]
    v = v.expand(3, 7, 5, 2)
    y = random(7, 5, 3, 2, 2, seed=2).permute(2, 1, 4, 3, 0)
    compare_outer(k, v)
    compare_contract(k, y)
    compare_contract(
        k, random(3, 5, 2, 2, 9, seed=2)[..., :7]
    )  # laid out like the output of the FFT
    slopes = (random(7, 3, 2, 2, 5, seed=3).permute(1, 4, 2, 3, 0), random(1, 1, 1, 1, seed=4))
    for name, tensors, slope in (("outer", (k, v), slopes[0]), ("contract", (k, y), slopes[1])):
        tensors = [x.detach().requires_grad_() for x in tensors]
        results, expected = (
            torch.autograd.grad(z, tensors, slope.expand(z.shape))
            for z in (getattr(module, name)(*tensors) for module in (triton, reference))
        )
        for a, b in zip(results, expected, strict=True):
            assert_close(f"gradient of {name}", a, b, 1e-6)


def test_results_have_the_layout_that_the_next_operation_reads():
    """Convolutions read each head by itself, the projection after them each token."""
    k, v = draw(2, 7, 6, 2, 0, LAYOUTS[1]).requires_grad_(), draw(2, 7, 6, 2, 1).requires_grad_()
    kv = triton.outer(k, v)
    assert kv.transpose(0, 1).is_contiguous()
    y = kv.detach().requires_grad_()
    out = triton.contract(v, y)
    assert out.is_contiguous()
    (dy,) = torch.autograd.grad(out.sum(), y)
    assert dy.transpose(0, 1).is_contiguous()
    dk, dv = torch.autograd.grad(kv.sum(), (k, v))
    assert dk.flatten(2).permute(2, 0, 1).is_contiguous()
    assert dv.is_contiguous()
    assert_close(
        "gradient of y", dy, v[..., None].expand(2, 7, 3, 2, 2).permute(0, 2, 3, 4, 1), 1e-6
    )


def test_results_repeat_bit_for_bit():
    q, k, v = (draw(2, 40, 8, 2, seed).requires_grad_() for seed in range(3))
    first, second = (
        torch.autograd.grad(triton.contract(q, triton.outer(k, v)).sin().sum(), (q, k, v))
        for _ in range(2)
    )
    for name, a, b in zip("qkv", first, second, strict=True):
        assert_close(name, a, b, 1e-30)


@pytest.mark.parametrize("p", [3, 16])
def test_other_sizes_of_heads_are_left_to_the_reference(p):
    k, v = draw(1, 5, 2 * p, p, 0), draw(1, 5, 2 * p, p, 1)
    with pytest.raises(UserError, match=rf"heads of 1, 2, 4 and 8 channels, not {p}\."):
        outer(k, v, backend="triton")
    kv = outer(k, v)
    assert_close("kv", kv, reference.outer(k, v), 1e-30)
    assert_close("output", contract(k, kv), reference.contract(k, kv), 1e-30)


def test_shape_propagation_agrees_with_the_kernels():
    k, v = draw(2, 7, 6, 2, 0, LAYOUTS[1]), draw(2, 7, 6, 2, 1)
    y = random(2, 3, 2, 2, 7, seed=2)
    for op, tensors in (("outer", (k, v)), ("contract", (k, y))):
        torch.library.opcheck(
            getattr(torch.ops.recall_bench, op).default,
            tuple(x.detach().requires_grad_() for x in tensors),
            test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
        )
    for op, tensors in (("outer", (k, v, y)), ("contract", (k, y, v))):
        torch.library.opcheck(getattr(torch.ops.recall_bench, f"{op}_backward").default, tensors)
    compare_outer(k, v)


def test_it_compiles_into_one_graph():
    def both(module):
        return lambda q, k, v: 2 * module.contract(q, module.outer(k, v))

    compiled = torch.compile(both(triton), backend="aot_eager", fullgraph=True)
    tensors = [draw(2, 9, 8, 2, seed) for seed in range(3)]
    check(compiled, both(reference), tensors, 1e-5, "qkv")


@on_gpu
class TestOnAGpu:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    @pytest.mark.parametrize("layout", LAYOUTS)
    @pytest.mark.parametrize("length", [1, 16, 64, 100, 256, 1000])
    @pytest.mark.parametrize(
        ("width", "p"), [(64, 1), (64, 2), (128, 2), (256, 2), (96, 4), (128, 8), (6, 2)]
    )
    def test_outputs_and_gradients_match_the_reference(self, width, p, length, layout, dtype):
        compare(length, width, p, layout, batch=5, dtype=dtype)

    def test_a_cuda_graph_replays_new_inputs(self):
        q, k, v = tensors = [draw(4, 100, 64, 2, seed).requires_grad_() for seed in range(3)]

        def step():
            kv = triton.outer(k, v)
            out = triton.contract(q, kv)
            gradients = torch.autograd.grad(out.sin().sum(), tensors)
            return kv.detach(), out.detach(), *gradients

        @torch.no_grad()
        def change():
            q.mul_(0.9)
            k.add_(1)
            v.neg_()

        check_replay_after(change, step, ("kv", "output", *"qkv"))
