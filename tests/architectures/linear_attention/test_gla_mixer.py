import pytest
import torch
from pydantic import ValidationError
from recurrence import (
    assert_forms_agree,
    draw,
    make,
    rms_norm,
)
from torch.nn import functional as F

from recall_bench.architectures.linear_attention.gla import GLA
from recall_bench.architectures.linear_attention.linear_attention import LinearAttention
from recall_bench.model.state_size import measure_layers

CONFIG = GLA(d_model=8, num_heads=2, expand_v=1.5, gate_rank=3)


@pytest.mark.parametrize("length", [0, 1, 17, 65])
def test_forward_prefill_and_steps_agree(length: int) -> None:
    assert_forms_agree(make(CONFIG), 8, length)


def test_output_follows_the_equations_of_the_paper_token_by_token() -> None:
    mixer, x = make(CONFIG), draw(70, 8)
    W_q, W_k, W_v = mixer.qkv.weight.split([4, 4, 12])
    first, second = mixer.decay
    S, outputs = torch.zeros(2, 2, 6, dtype=x.dtype), []
    for x_t in x:
        alpha = torch.sigmoid(second.weight @ (first.weight @ x_t) + second.bias) ** (1 / 16)
        q, k, v = (W @ x_t for W in (W_q, W_k, W_v))
        heads = []
        for h in range(2):
            key, value = slice(2 * h, 2 * h + 2), slice(6 * h, 6 * h + 6)
            S[h] = torch.diag(alpha[key]) @ S[h] + torch.outer(k[key], v[value])
            heads.append(rms_norm(S[h].T @ q[key] / 2**0.5) * mixer.norm.weight)
        outputs.append(mixer.out.weight @ (torch.cat(heads) * F.silu(mixer.gate.weight @ x_t)))
    torch.testing.assert_close(mixer(x[None])[0], torch.stack(outputs), rtol=1e-9, atol=1e-12)


def test_without_forgetting_it_is_linear_attention() -> None:
    """W_2 W_1 x + b so large that every decay is 1; the gate, which silu makes 1, is constant."""
    gated = make(GLA(d_model=8, num_heads=2))
    linear = make(
        LinearAttention(
            d_model=8, num_heads=2, feature_dim=2, feature_map="identity", normaliser="rms"
        )
    )
    one = 1.2784645427610738  # silu(1.278…) = 1
    with torch.no_grad():
        gated.decay[1].bias.fill_(1e4)
        linear.qkv.weight.copy_(gated.qkv.weight)
        linear.out.weight.copy_(gated.out.weight)
        gated.gate.weight.zero_()
        gated.gate.weight[:, 0] = one
        x = draw(2, 70, 8)
        x[:, :, 0] = 1
        torch.testing.assert_close(gated(x), linear(x), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("width", "heads"), [(64, 2), (128, 4)])
def test_the_state_is_one_matrix_per_head(width: int, heads: int) -> None:
    config = GLA(d_model=width, num_heads=heads, layers="self")
    assert measure_layers(config, 100)[0].bytes == 4 * width**2 // (2 * heads)


def test_gradients_reach_every_parameter_and_stay_finite_for_large_inputs() -> None:
    mixer = make(CONFIG, torch.float32)
    mixer(1e3 * draw(2, 70, 8, dtype=torch.float32)).square().sum().backward()
    for name, parameter in mixer.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_heads_that_do_not_divide_the_keys_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"expand_k \* d_model must be a multiple of num_h"):
        GLA(d_model=8, num_heads=8)
