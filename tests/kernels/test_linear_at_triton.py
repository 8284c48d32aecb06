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

from recall_bench.kernels.linear_at import linear_at, reference, triton

NAMES = ("x", "weight", "bias")


def inputs(B, T, D, M, dtype=torch.float32, bias=True):
    x, weight = random(B, T, D, seed=0, dtype=dtype), random(M, D, seed=1, dtype=dtype)
    return [x, weight, random(M, seed=2, dtype=dtype) if bias else None]


def apply(function, positions, size, **options):
    return lambda x, weight, bias: function(x, positions, weight, size, bias, **options)


def compare(tensors, positions, size):
    ours, exact = (
        apply(triton.linear_at, positions, size),
        apply(reference.linear_at, positions, size),
    )
    check(ours, exact, tensors, TOLERANCE[tensors[0].dtype], NAMES)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("Q", "T", "D", "M", "size"), [(1, 1, 1, 2, 1), (9, 21, 17, 20, 7)])
def test_outputs_and_gradients_match_the_reference(Q, T, D, M, size, bias):
    compare(inputs(3, T, D, M, bias=bias), draw_positions(3, Q, T), size)
    compare(inputs(3, T, D, M, bias=bias), draw_positions(3, Q, T), -size)


def test_a_negative_size_counts_from_the_end():
    (x, weight, bias), positions = inputs(3, 6, 5, 9), draw_positions(3, 4, 6)
    few, rest = linear_at(x, positions, weight, -2, bias)
    whole = torch.nn.functional.linear(x, weight, bias)
    rows = torch.arange(3)[:, None].to(DEVICE)
    assert_close("few", few, whole[rows, positions][..., 7:], 1e-6)
    assert_close("rest", rest, whole[..., :7], 1e-6)


@pytest.mark.parametrize(("B", "Q", "T"), [(0, 3, 5), (2, 0, 5), (2, 0, 0)])
def test_empty_problems_have_empty_results_and_zero_gradients(B, Q, T):
    compare(inputs(B, T, 6, 5), draw_positions(B, Q, T), 2)


def test_inputs_of_any_strides_match_the_reference():
    x, weight, bias = inputs(4, 6, 5, 7)
    positions = draw_positions(4, 3, 6).t().contiguous().t()
    x, weight = x.transpose(0, 1).contiguous().transpose(0, 1), weight.t().contiguous().t()
    compare([x, weight, bias], positions, 3)
    compare([x.mT.contiguous().mT, weight, bias], positions, 3)


@pytest.mark.parametrize("used", [0, 1])
def test_features_that_nobody_uses_have_no_share_in_the_gradients(used):
    tensors, positions = [x.requires_grad_() for x in inputs(2, 6, 5, 9)], draw_positions(2, 4, 6)

    def gradients(module):
        y = apply(module.linear_at, positions, 3)(*tensors)[used]
        return torch.autograd.grad(y.pow(2).sum(), tensors)

    for name, ours, theirs in zip(NAMES, gradients(triton), gradients(reference), strict=True):
        assert_close(f"gradient of {name}", ours, theirs, 1e-5)


def test_under_autocast_the_products_are_bfloat16_and_the_gradients_are_those_of_float32_weights():
    tensors, positions = (
        [x.requires_grad_() for x in inputs(3, 20, 24, 12)],
        draw_positions(3, 8, 20),
    )

    def gradients(module):
        few, rest = apply(module.linear_at, positions, 4)(*tensors)
        loss = few.float().pow(2).sum() + rest.float().pow(2).sum()
        return few, torch.autograd.grad(loss, tensors)

    with torch.autocast(DEVICE, torch.bfloat16):
        y, results = gradients(triton)
    assert y.dtype == torch.bfloat16
    for name, ours, theirs in zip(NAMES, results, gradients(reference)[1], strict=True):
        assert ours.dtype == torch.float32
        assert_close(f"gradient of {name}", ours, theirs, 2e-2)


def test_it_compiles_into_one_graph():
    positions = draw_positions(2, 6, 9)
    compiled = torch.compile(
        apply(linear_at, positions, 3, backend="triton"), backend="aot_eager", fullgraph=True
    )
    exact = apply(reference.linear_at, positions, 3)
    check(compiled, exact, inputs(2, 9, 4, 7), 1e-5, NAMES)


@on_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("D", [48, 64, 128])
@pytest.mark.parametrize(("Q", "T"), [(4, 64), (16, 65), (64, 256)])
def test_on_a_gpu_outputs_and_gradients_match_the_reference(Q, T, D, dtype):
    compare(inputs(16, T, D, 3 * D, dtype), draw_positions(16, Q, T), D)


@on_gpu
@pytest.mark.parametrize("narrow", [False, True])
def test_a_cuda_graph_replays_new_positions(narrow):
    tensors, positions = (
        [x.requires_grad_() for x in inputs(4, 100, 64, 192)],
        draw_positions(4, 30, 100),
    )

    def step():
        with torch.autocast("cuda", torch.bfloat16, enabled=narrow, cache_enabled=False):
            few, rest = apply(triton.linear_at, positions, 64)(*tensors)
        loss = few.float().pow(2).sum() + rest.float().pow(2).sum()
        return few.detach(), *torch.autograd.grad(loss, tensors)

    check_replay(step, positions, 100, ("few", *NAMES))
