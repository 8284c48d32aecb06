import pytest
import torch
from pydantic import ValidationError
from recurrence import assert_forms_agree, draw, make
from torch.nn import functional as F

from recall_bench.architectures.linear_attention.metala import MetaLA
from recall_bench.kernels.gated_linear import gated_linear
from recall_bench.model.state_size import measure_layers

CONFIG = MetaLA(d_model=8, num_heads=2)


@pytest.mark.parametrize("length", [0, 1, 17, 65])
def test_forward_prefill_and_steps_agree(length: int) -> None:
    assert_forms_agree(make(CONFIG), 8, length)


@torch.no_grad()
def test_output_follows_the_equations_of_the_paper_token_by_token() -> None:
    mixer, x = make(CONFIG), draw(70, 8)
    mixer.augment.copy_(draw(2, 2))
    mixer.decay.weight.mul_(20)
    past, S, outputs = torch.zeros(4, 8, dtype=x.dtype), torch.zeros(2, 2, 4).double(), []
    for token in x:
        past = torch.cat([past[1:], token[None]])
        u = F.silu((past * mixer.conv.weight.mT).sum(0))
        alpha = torch.sigmoid(mixer.decay.weight @ u) ** (1 / 16)
        q, v, heads = mixer.q_proj.weight @ u, mixer.v_proj.weight @ u, []
        for h in range(2):
            key, v_h = slice(2 * h, 2 * h + 2), v[4 * h : 4 * h + 4]
            k = 1 - alpha[key]
            S[h] = torch.diag(alpha[key]) @ S[h] + torch.outer(k, v_h)
            own = torch.sigmoid((q[key] @ (mixer.augment[h] * k)) * v_h)
            heads.append(F.layer_norm(S[h].T @ q[key] / 2**0.5 + own, (4,)))
        gate = F.silu(mixer.gate.weight @ u + mixer.gate.bias)
        outputs.append(mixer.out.weight @ (torch.cat(heads) * gate))
    torch.testing.assert_close(mixer(x[None])[0], torch.stack(outputs), rtol=1e-8, atol=1e-10)


@torch.no_grad()
def test_it_is_gla_with_tied_keys_up_to_a_constant_that_the_norm_removes() -> None:
    """At its start the term for the token itself is 1/2 everywhere."""
    mixer, x = make(CONFIG), draw(2, 70, 8)
    u = F.silu(F.conv1d(F.pad(x.mT, (3, 0)), mixer.conv.weight[:, None], groups=8).mT)
    log_decay = F.logsigmoid(mixer.decay(u)).unflatten(-1, (2, 2)) / 16
    q, v = mixer.q_proj(u).unflatten(-1, (2, 2)), mixer.v_proj(u).unflatten(-1, (2, 4))
    y = gated_linear(q / 2**0.5, 1 - log_decay.exp(), v, log_decay)
    y = F.layer_norm(y, (4,)).flatten(-2) * F.silu(mixer.gate(u))
    torch.testing.assert_close(mixer(x), mixer.out(y), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("width", "heads"), [(64, 2), (128, 4)])
def test_the_state_is_one_matrix_per_head_and_the_tail_of_the_convolution(
    width: int, heads: int
) -> None:
    config = MetaLA(d_model=width, num_heads=heads, layers="self")
    assert measure_layers(config, 100)[0].bytes == 4 * (3 * width + width**2 // (2 * heads))


def test_gradients_reach_every_parameter_and_stay_finite_for_large_inputs() -> None:
    for scale in (1, 1e3):
        mixer = make(CONFIG, torch.float32)
        mixer(scale * draw(2, 70, 8, dtype=torch.float32)).square().sum().backward()
        for name, parameter in mixer.named_parameters():
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().sum() > 0 or scale > 1, name


def test_initial_values_are_those_published() -> None:
    mixer = make(MetaLA(d_model=64))
    assert not mixer.augment.any()
    bound = 2**-2.5 * (6 / (64 + 32)) ** 0.5
    for module in (mixer.q_proj, mixer.decay):
        assert 0.98 * bound < module.weight.abs().max() <= bound
        assert module.weight._no_reinit


def test_a_width_that_the_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"d_model must be a multiple of 2 num_heads = 8"):
        MetaLA(d_model=20)
