import math

import pytest
import torch
from pydantic import ValidationError
from recurrence import (
    assert_finite_on_large_inputs,
    assert_forms_agree,
    assert_step_leaves_its_state,
    draw,
    scan,
)

from recall_bench.architectures.state_space.h3 import H3
from recall_bench.architectures.state_space.h3_layer import H3Mixer
from recall_bench.model.state_size import state_bytes

LENGTHS = [1, 2, 17, 63, 130]


def make(dtype: torch.dtype = torch.float64, **knobs: int) -> H3Mixer:
    torch.manual_seed(0)
    return H3(**{"d_model": 8, "d_state": 6, **knobs}).mixer().to(dtype)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("head_dim", [1, 2])
def test_prefill_forward_and_steps_agree(length: int, head_dim: int) -> None:
    assert_forms_agree(make(head_dim=head_dim), 8, length)


def test_output_follows_the_equations_with_explicit_matrices() -> None:
    mixer, length = make(head_dim=2), 11
    x = draw(1, length, 8)
    q, k, v = (project(x)[0] for project in (mixer.q_proj, mixer.k_proj, mixer.v_proj))
    shift = torch.diag(torch.ones(5, dtype=x.dtype), -1)  # (N, N), moves each entry down by one
    memory = torch.zeros(8, 6, dtype=x.dtype)
    A = -mixer.log_A_real.exp() + 1j * mixer.A_imag
    B, C = torch.view_as_complex(mixer.B), torch.view_as_complex(mixer.C)
    dt, h, outputs = mixer.log_dt.exp(), torch.zeros(4, 2, 2, 3, dtype=torch.complex128), []
    for t in range(length):
        memory = memory @ shift.T
        memory[:, 0] += k[t]
        key = (mixer.shift_C * memory).sum(-1) + mixer.shift_D * k[t]
        kv = key.view(4, 2)[:, :, None] * v[t].view(4, 2)[:, None]
        driven = (1 + dt * A / 2)[:, None, None] * h + (dt * B)[:, None, None] * kv[..., None]
        h = driven / (1 - dt * A / 2)[:, None, None]
        both = (C[:, None, None] * h).sum(-1)
        y = (both + both.conj()).real + mixer.D[:, None, None] * kv
        outputs.append((q[t].view(4, 1, 2) @ y).flatten())
    expected = mixer.out_proj(torch.stack(outputs)[None])
    torch.testing.assert_close(mixer(x), expected, rtol=1e-10, atol=1e-12)


def test_the_future_changes_no_past_output() -> None:
    mixer, x = make(), draw(2, 20, 8)
    changed = x.clone()
    changed[:, 11:] += 1
    past, past_changed = mixer(x)[:, :11], mixer(changed)[:, :11]
    torch.testing.assert_close(past, past_changed, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("head_dim", [1, 2])
def test_state_has_exactly_the_last_keys_and_the_complex_modes(head_dim: int) -> None:
    mixer = make(torch.float32, d_model=64, d_state=16, head_dim=head_dim)
    _, state = mixer.prefill(draw(1, 40, 64, dtype=torch.float32))
    assert state["shift"].shape == (1, 15, 64)
    assert state["diagonal"].shape == (1, 64 // head_dim, head_dim, head_dim, 8)
    expected = 15 * 64 * 4 + 64 * head_dim * 8 * 8
    assert state_bytes(state) == state_bytes(mixer.initial_state(1)) == expected


def test_diagonal_state_stays_complex64_in_a_bfloat16_module() -> None:
    mixer, x = make(torch.bfloat16), draw(2, 6, 8).bfloat16()
    y, state = mixer.prefill(x)
    stepped, stepped_state = scan(mixer, x)
    assert y.dtype == stepped.dtype == torch.bfloat16
    assert state["shift"].dtype == stepped_state["shift"].dtype == torch.bfloat16
    assert state["diagonal"].dtype == stepped_state["diagonal"].dtype == torch.complex64
    torch.testing.assert_close(y, stepped, rtol=0.05, atol=0.02)


def test_step_leaves_the_given_state_alone() -> None:
    assert_step_leaves_its_state(make(), 8)


@pytest.mark.parametrize("head_dim", [1, 2])
def test_gradients_equal_those_through_the_recurrence(head_dim: int) -> None:
    mixer, x = make(head_dim=head_dim), draw(2, 9, 8)
    weight, parameters = draw(2, 9, 8, seed=2), dict(mixer.named_parameters())
    found = torch.autograd.grad((weight * mixer(x)).sum(), list(parameters.values()))
    expected = torch.autograd.grad((weight * scan(mixer, x)[0]).sum(), list(parameters.values()))
    for name, a, b in zip(parameters, found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11, msg=lambda m, n=name: f"{n}: {m}")
        assert a.abs().sum() > 0, name


def test_inputs_a_thousand_times_too_large_stay_finite() -> None:
    assert_finite_on_large_inputs(make(torch.float32), 8)


def test_initial_values_are_those_published() -> None:
    mixer = make(d_model=128, d_state=16)
    assert mixer.log_dt.min() >= math.log(1e-3) - 1e-6
    assert mixer.log_dt.max() <= math.log(1e-1) + 1e-6
    assert mixer.log_dt.std() > 1  # log(100) / sqrt(12) = 1.33
    torch.testing.assert_close(mixer.log_A_real.exp(), torch.full((128, 8), 0.5).double())
    torch.testing.assert_close(mixer.A_imag[3], math.pi * torch.arange(8).double())
    assert torch.equal(torch.view_as_complex(mixer.B), torch.ones(128, 8, dtype=torch.complex128))
    assert mixer.shift_C.abs().max() <= 0.25
    assert mixer.C.square().sum(-1).mean().item() == pytest.approx(1, abs=0.1)
    for parameter in (mixer.log_dt, mixer.log_A_real, mixer.A_imag, mixer.B):
        assert parameter._no_weight_decay


def test_shapes_propagate_on_the_meta_device() -> None:
    with torch.device("meta"):
        mixer = H3().mixer()
        x = torch.empty(1, 20, 64)
    y, state = mixer.prefill(x)
    stepped, next_state = mixer.step(x[:, 0], state)
    assert y.shape == x.shape
    assert stepped.shape == (1, 64)
    assert state_bytes(state) == state_bytes(next_state) == 15 * 64 * 4 + 64 * 8 * 8


def test_sizes_that_do_not_fit_are_refused_with_the_value_given() -> None:
    with pytest.raises(ValidationError, match=r"d_state must be even.*Got 7"):
        H3(d_state=7)
    with pytest.raises(ValidationError, match=r"must divide d_model=64. Got head_dim=3"):
        H3(head_dim=3)
