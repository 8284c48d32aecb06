import pytest
import torch
from torch import nn
from torch.nn import functional as F

from recall_bench.kernels.add_norm import add_norm


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("kind", "module"), [("layernorm", nn.LayerNorm), ("rmsnorm", nn.RMSNorm)])
def test_it_adds_and_then_normalises_as_the_modules_do(kind, module):
    norm = module(6, eps=1e-5, dtype=torch.float64)
    nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(2))
    x, residual = draw(2, 3, 6), draw(2, 3, 6, seed=1)
    normed, total = add_norm(x, residual, norm.weight, getattr(norm, "bias", None), 1e-5, kind)
    torch.testing.assert_close(total, x + residual)
    torch.testing.assert_close(normed, norm(x + residual))


def test_the_first_norm_has_no_residual_and_hands_x_on():
    x, weight, bias = draw(4, 6), draw(6, seed=1), draw(6, seed=2)
    normed, total = add_norm(x, None, weight, bias)
    assert total is x
    torch.testing.assert_close(normed, F.layer_norm(x, (6,), weight, bias))


def test_rmsnorm_takes_a_bias_too():
    x, weight, bias = draw(4, 6), draw(6, seed=1), draw(6, seed=2)
    normed, _ = add_norm(x, None, weight, bias, kind="rmsnorm")
    torch.testing.assert_close(normed, F.rms_norm(x, (6,), weight, 1e-5) + bias)


def test_a_narrow_branch_keeps_its_dtype_and_the_stream_its_own():
    x, residual, weight = draw(4, 6).bfloat16(), draw(4, 6, seed=1).float(), torch.ones(6)
    normed, total = add_norm(x, residual, weight)
    assert (normed.dtype, total.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(total, x + residual)
