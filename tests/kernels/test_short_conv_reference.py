import pytest
import torch
from torch.nn import functional as F

from recall_bench.kernels.short_conv import short_conv


def inputs(length, kernel, width=3, dtype=torch.float64):
    g = torch.Generator().manual_seed(0)
    shapes = (2, length, width), (width, kernel), (width,)
    return [torch.randn(s, generator=g, dtype=torch.float64).to(dtype) for s in shapes]


def naive(x, weight, bias, activation=None):
    kernel = weight.shape[1]
    y = F.conv1d(
        F.pad(x.transpose(1, 2), (kernel - 1, 0)), weight[:, None], bias, groups=len(weight)
    ).transpose(1, 2)
    return F.silu(y) if activation else y


@pytest.mark.parametrize("activation", [None, "silu"])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("length", [1, 2, 17])
def test_output_and_gradients_equal_a_padded_conv1d(length, kernel, activation):
    tensors = [x.requires_grad_() for x in inputs(length, kernel)]
    ours, theirs = short_conv(*tensors, activation), naive(*tensors, activation)
    torch.testing.assert_close(ours, theirs)
    weight = torch.randn_like(ours)
    gradients = torch.autograd.grad((ours * weight).sum(), tensors)
    expected = torch.autograd.grad((theirs * weight).sum(), tensors)
    torch.testing.assert_close(gradients, expected)


def test_the_last_column_meets_the_current_input():
    x, weight, _ = inputs(5, 3)
    weight = torch.zeros_like(weight)
    weight[:, -1] = 1
    assert torch.equal(short_conv(x, weight), x)


def test_the_state_owns_its_memory_and_holds_kernel_minus_one_inputs():
    x, weight, bias = inputs(50, 3)
    _, state = short_conv(x, weight, bias, return_state=True)
    assert torch.equal(state, x[:, -2:])
    assert state.untyped_storage().nbytes() == state.numel() * state.element_size()


def test_bfloat16_sums_in_float32_and_rounds_once():
    x, weight, bias = inputs(50, 9, dtype=torch.bfloat16)
    y = short_conv(x, weight, bias)
    assert y.dtype == torch.bfloat16
    exact = naive(x.double(), weight.double(), bias.double())
    torch.testing.assert_close(y.double(), exact, rtol=2**-8, atol=1e-6)
