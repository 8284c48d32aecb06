import pytest
import torch
from pydantic import ValidationError
from recurrence import assert_forms_agree, draw, make
from torch.nn import functional as F

from recall_bench.architectures.linear_attention.rwkv6 import RWKV6
from recall_bench.architectures.linear_attention.rwkv6_layer import RWKV6Mixer
from recall_bench.kernels.wkv import naive as naive_wkv
from recall_bench.model.state_size import measure_layers

CONFIG = RWKV6(d_model=8, head_dim=4, mix_rank=3, decay_rank=2)


def made(dtype: torch.dtype = torch.float64) -> RWKV6Mixer:
    """A mixer whose low-rank maps, which start at zero, matter."""
    mixer = make(CONFIG, dtype)
    with torch.no_grad():
        for parameter in (mixer.W1, mixer.W2, mixer.D1, mixer.D2):
            parameter.copy_(draw(*parameter.shape, seed=parameter.numel()) / 2)
    return mixer


@pytest.mark.parametrize("length", [0, 1, 17, 65])
def test_forward_prefill_and_steps_agree(length: int) -> None:
    assert_forms_agree(made(), 8, length)


def test_output_follows_the_equations_of_the_paper_token_by_token() -> None:
    mixer, x = made(), draw(70, 8)
    maps = [p.weight for p in (mixer.k_proj, mixer.v_proj, mixer.r_proj, mixer.g_proj)]
    S, previous, outputs = torch.zeros(2, 4, 4, dtype=x.dtype), torch.zeros_like(x[0]), []
    for now in x:
        s = previous - now
        shifted = now + s * mixer.mu_x
        inputs = [
            now + s * (mixer.mu[c] + torch.tanh(shifted @ mixer.W1[c]) @ mixer.W2[c])
            for c in range(5)
        ]
        w = torch.exp(-torch.exp(mixer.w_0 + torch.tanh(inputs[0] @ mixer.D1) @ mixer.D2))
        k, v, r, g = (W @ value for W, value in zip(maps, inputs[1:], strict=True))
        heads = []
        for h, part in enumerate((slice(0, 4), slice(4, 8))):
            kv = torch.outer(k[part], v[part])
            heads.append(r[part] @ (S[h] + torch.diag(mixer.bonus[h]) @ kv))
            S[h] = torch.diag(w[part]) @ S[h] + kv
        y = F.group_norm(torch.cat(heads)[None], 2, mixer.norm_weight, mixer.norm_bias, 64e-5)[0]
        outputs.append(mixer.out_proj.weight @ (y * F.silu(g)))
        previous = now
    torch.testing.assert_close(mixer(x[None])[0], torch.stack(outputs), rtol=1e-9, atol=1e-12)


@torch.no_grad()
def test_at_its_start_the_recurrence_is_that_of_rwkv5() -> None:
    """W1 = 0 and D1 = 0: neither decays nor ratios depend on the token."""
    mixer, x = make(CONFIG), draw(1, 70, 8)
    previous = F.pad(x, (0, 0, 1, -1))
    k, v, r, g = (
        project(x + (previous - x) * mu)
        for mu, project in zip(
            mixer.mu[1:], (mixer.k_proj, mixer.v_proj, mixer.r_proj, mixer.g_proj), strict=True
        )
    )
    r, k, v = (part.unflatten(-1, (2, 4)) for part in (r, k, v))
    y, _ = naive_wkv.wkv(r, k, v, -mixer.w_0.exp().view(2, 4), mixer.bonus)
    y = F.layer_norm(y, (4,), eps=64e-5).flatten(-2) * F.silu(g)
    torch.testing.assert_close(mixer(x), mixer.out_proj(y), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("width", "head_dim"), [(64, 64), (128, 32)])
def test_the_state_is_one_square_per_head_and_the_last_token(width: int, head_dim: int) -> None:
    config = RWKV6(d_model=width, head_dim=head_dim, layers="self")
    assert measure_layers(config, 100)[0].bytes == 4 * (width * head_dim + width)


def test_gradients_reach_every_parameter_and_stay_finite_for_large_inputs() -> None:
    for scale in (1, 1e3):
        mixer = made(torch.float32)
        mixer(scale * draw(2, 70, 8, dtype=torch.float32)).square().sum().backward()
        for name, parameter in mixer.named_parameters():
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().sum() > 0 or scale > 1, name


def test_initial_values_are_those_published() -> None:
    mixer = make(RWKV6(d_model=64, head_dim=32))
    ramp = torch.arange(64).double() / 64
    torch.testing.assert_close(mixer.mu_x, 1 - ramp)
    torch.testing.assert_close(mixer.mu[:3], (1 - ramp).expand(3, 64))
    torch.testing.assert_close(mixer.mu[3:], (1 - ramp.sqrt()).expand(2, 64), atol=1e-6, rtol=0)
    assert (mixer.w_0[0], mixer.w_0[-1]) == (-6, -1)
    torch.testing.assert_close(mixer.bonus[0, :4], torch.tensor([0, 0.1, -0.1, 0]).double())
    assert not mixer.W1.any()
    assert not mixer.D1.any()
    assert 0.009 < mixer.W2.max() <= 0.01
    assert 0.009 < mixer.D2.max() <= 0.01
    for parameter in (mixer.mu_x, mixer.mu, mixer.w_0, mixer.bonus, mixer.norm_weight):
        assert parameter._no_weight_decay


def test_a_head_size_that_does_not_divide_the_width_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"must divide d_model=48. Got head_dim=64"):
        RWKV6(d_model=48)
