import pytest
import torch
from recurrence import (
    assert_finite_on_large_inputs,
    assert_forms_agree,
    assert_step_leaves_its_state,
    draw,
    scan,
)
from torch.nn import functional as F

from recall_bench.architectures.state_space.mamba import Mamba
from recall_bench.architectures.state_space.mamba_layer import MambaMixer
from recall_bench.model.state_size import state_bytes

LENGTHS = [1, 2, 17, 63, 130]


def make(dtype: torch.dtype = torch.float64, **knobs: int) -> MambaMixer:
    torch.manual_seed(0)
    return Mamba(**{"d_model": 8, "d_state": 3, **knobs}).mixer().to(dtype)


@pytest.mark.parametrize("length", LENGTHS)
def test_prefill_forward_and_steps_agree(length: int) -> None:
    assert_forms_agree(make(), 8, length)


def test_output_follows_the_equations_of_the_paper() -> None:
    mixer, x = make(), draw(1, 5, 8)
    u, z = mixer.in_proj(x).chunk(2, -1)
    kernel = mixer.conv_weight[:, None]
    u = F.silu(F.conv1d(F.pad(u.mT, (3, 0)), kernel, mixer.conv_bias, groups=16)).mT
    low, B, C = mixer.x_proj(u).split([1, 3, 3], -1)
    delta = F.softplus(mixer.dt_proj(low))
    A, h, outputs = -mixer.A_log.exp(), torch.zeros(1, 16, 3, dtype=x.dtype), []
    for t in range(5):
        h = torch.exp(delta[:, t, :, None] * A) * h
        h = h + (delta[:, t] * u[:, t])[..., None] * B[:, t, None]
        outputs.append((h @ C[:, t, :, None])[..., 0] + mixer.D * u[:, t])
    expected = mixer.out_proj(torch.stack(outputs, 1) * F.silu(z))
    torch.testing.assert_close(mixer(x), expected, rtol=1e-10, atol=1e-12)


def test_the_future_changes_no_past_output() -> None:
    mixer, x = make(), draw(2, 20, 8)
    changed = x.clone()
    changed[:, 11:] += 1
    assert torch.equal(mixer(x)[:, :11], mixer(changed)[:, :11])


def test_state_has_exactly_the_convolution_tail_and_the_ssm_state() -> None:
    mixer = make(torch.float32, d_model=64, d_state=16)
    _, state = mixer.prefill(draw(1, 10, 64, dtype=torch.float32))
    assert state["conv"].shape == (1, 3, 128)
    assert state["ssm"].shape == (1, 128, 16)
    assert state_bytes(state) == state_bytes(mixer.initial_state(1)) == (3 * 128 + 128 * 16) * 4


def test_ssm_state_stays_float32_in_a_bfloat16_module() -> None:
    mixer, x = make(torch.bfloat16), draw(2, 6, 8).bfloat16()
    y, state = mixer.prefill(x)
    stepped, stepped_state = scan(mixer, x)
    assert y.dtype == stepped.dtype == torch.bfloat16
    assert state["ssm"].dtype == stepped_state["ssm"].dtype == torch.float32
    assert state["conv"].dtype == stepped_state["conv"].dtype == torch.bfloat16
    torch.testing.assert_close(y, stepped, rtol=0.05, atol=0.02)


def test_step_leaves_the_given_state_alone() -> None:
    assert_step_leaves_its_state(make(), 8)


def test_every_parameter_has_a_finite_gradient_that_is_not_zero() -> None:
    mixer = make()
    mixer(draw(2, 9, 8)).square().sum().backward()
    for name, parameter in mixer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_inputs_a_thousand_times_too_large_stay_finite() -> None:
    assert_finite_on_large_inputs(make(torch.float32), 8)


def test_initial_values_are_those_published() -> None:
    mixer = make(d_model=128, d_state=4)
    steps = F.softplus(mixer.dt_proj.bias)
    assert steps.min() >= 1e-3 * 0.999
    assert steps.max() <= 1e-1 * 1.001
    assert steps.log().std() > 1  # uniform in log space: log(100) / sqrt(12) = 1.33
    assert mixer.dt_proj.weight.abs().max() <= 8**-0.5
    assert mixer.conv_weight.abs().max() <= 4**-0.5
    torch.testing.assert_close(mixer.A_log[7].exp(), torch.arange(1, 5).double())
    assert torch.equal(mixer.D, torch.ones_like(mixer.D))
    for parameter in (mixer.dt_proj.weight, mixer.dt_proj.bias):
        assert parameter._no_reinit
    for parameter in (mixer.A_log, mixer.D):
        assert parameter._no_weight_decay


def test_shapes_propagate_on_the_meta_device() -> None:
    with torch.device("meta"):
        mixer = Mamba().mixer()
        x = torch.empty(1, 20, 64)
    y, state = mixer.prefill(x)
    stepped, next_state = mixer.step(x[:, 0], state)
    assert y.shape == x.shape
    assert stepped.shape == (1, 64)
    assert state_bytes(state) == state_bytes(next_state) == (3 * 128 + 128 * 16) * 4


def test_the_default_stack_is_two_mamba_blocks() -> None:
    assert [name for name, _ in Mamba(d_model=8).stack()] == ["mamba", "mamba"]
