import pytest
import torch
from pydantic import ValidationError
from recurrence import assert_forms_agree, draw, make, rms_norm
from torch.nn import functional as F

from recall_bench.architectures.state_space.mamba2 import Mamba2
from recall_bench.kernels.gated_linear import gated_linear
from recall_bench.model.state_size import measure_layers

CONFIG = Mamba2(d_model=8, d_state=3, head_dim=4)


@pytest.mark.parametrize("length", [0, 1, 17, 65])
def test_forward_prefill_and_steps_agree(length: int) -> None:
    assert_forms_agree(make(CONFIG), 8, length)


def test_output_follows_the_equations_of_the_paper_token_by_token() -> None:
    mixer, x = make(CONFIG), draw(70, 8)
    with torch.no_grad():
        mixer.D.copy_(draw(4))
    A = -mixer.A_log.exp()
    past, S, outputs = torch.zeros(4, 22, dtype=x.dtype), torch.zeros(4, 3, 4).double(), []
    for token in x:
        projected = mixer.in_proj.weight @ token
        past = torch.cat([past[1:], projected[None, :22]])
        xBC = F.silu((past * mixer.conv.weight.mT).sum(0) + mixer.conv.bias)
        inner, B, C = xBC[:16], xBC[16:19], xBC[19:]
        dt = F.softplus(projected[22:] + mixer.dt_bias)
        heads = []
        for h in range(4):
            x_h = inner[4 * h : 4 * h + 4]
            S[h] = torch.exp(dt[h] * A[h]) * S[h] + torch.outer(B, dt[h] * x_h)
            heads.append(S[h].T @ C + mixer.D[h] * x_h)
        y = torch.cat(heads) * F.silu(mixer.gate.weight @ token)
        outputs.append(mixer.out_proj.weight @ (rms_norm(y) * mixer.norm.weight))
    torch.testing.assert_close(mixer(x[None])[0], torch.stack(outputs), rtol=1e-9, atol=1e-12)


def test_without_decay_skip_and_step_sizes_it_is_linear_attention() -> None:
    """A = 0, D = 0, dt = 1: the sum over the past of (C_t.B_j) x_j."""
    mixer, x = make(CONFIG), draw(2, 70, 8)
    with torch.no_grad():
        mixer.D.zero_()
        mixer.A_log.fill_(-float("inf"))
        mixer.in_proj.weight[-4:] = 0
        mixer.dt_bias.fill_(torch.e - 1).log_()
        xBC = F.conv1d(
            F.pad(F.linear(x, mixer.in_proj.weight[:22]).mT, (3, 0)),
            mixer.conv.weight[:, None],
            mixer.conv.bias,
            groups=22,
        )
        inner, B, C = F.silu(xBC.mT).split([16, 3, 3], -1)
        expected = gated_linear(C[:, :, None], B[:, :, None], inner[:, :, None])[:, :, 0]
        y = expected * F.silu(mixer.gate(x))
        expected = mixer.out_proj(rms_norm(y))
        torch.testing.assert_close(mixer(x), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("width", "d_state"), [(64, 16), (128, 24)])
def test_the_state_is_d_state_per_channel_and_the_tail_of_the_convolution(
    width: int, d_state: int
) -> None:
    config = Mamba2(d_model=width, d_state=d_state, layers="self")
    floats = 2 * width * d_state + 3 * (2 * width + 2 * d_state)
    assert measure_layers(config, 100)[0].bytes == 4 * floats


def test_gradients_reach_every_parameter_and_stay_finite_for_large_inputs() -> None:
    mixer = make(CONFIG, torch.float32)
    for scale in (1, 1e3):
        mixer.zero_grad()
        mixer(scale * draw(2, 70, 8, dtype=torch.float32)).square().sum().backward()
        for name, parameter in mixer.named_parameters():
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().sum() > 0 or scale > 1, name


def test_initial_values_are_those_published() -> None:
    mixer = make(Mamba2(d_model=128, d_state=4, head_dim=2))
    steps = F.softplus(mixer.dt_bias)
    assert steps.min() >= 1e-3 * 0.999
    assert steps.max() <= 1e-1 * 1.001
    assert steps.log().std() > 1  # uniform in log space: log(100) / sqrt(12) = 1.33
    A = mixer.A_log.exp()
    assert A.min() >= 1
    assert 14 < A.max() <= 16
    assert torch.equal(mixer.D, torch.ones_like(mixer.D))
    for parameter in (mixer.A_log, mixer.D, mixer.dt_bias):
        assert parameter._no_weight_decay
    for module in (mixer.in_proj, mixer.gate, mixer.out_proj):
        assert module.weight._no_reinit


def test_heads_that_do_not_divide_the_inner_width_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"head_dim must divide expand \* d_model = 16"):
        Mamba2(d_model=8)
