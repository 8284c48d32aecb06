import pytest
import torch
from pydantic import ValidationError
from recurrence import assert_forms_agree, assert_step_leaves_its_state, draw, scan
from torch.nn import functional as F

from recall_bench.architectures.linear_attention.rwkv5 import RWKV5
from recall_bench.architectures.linear_attention.rwkv5_layer import RWKV5Mixer
from recall_bench.model.state_size import state_bytes

LENGTHS = [1, 2, 17, 63, 130]


def make(dtype: torch.dtype = torch.float64, **knobs: int) -> RWKV5Mixer:
    torch.manual_seed(0)
    return RWKV5(**{"d_model": 8, "head_dim": 4, **knobs}).mixer().to(dtype)


@pytest.mark.parametrize("length", LENGTHS)
def test_prefill_forward_and_steps_agree(length: int) -> None:
    assert_forms_agree(make(), 8, length)


def test_output_follows_the_equations_of_the_paper() -> None:
    mixer, x = make(), draw(1, 7, 8)
    w, u = torch.exp(-torch.exp(mixer.decay)), mixer.bonus
    S, previous, outputs = torch.zeros(2, 4, 4, dtype=x.dtype), torch.zeros_like(x[0, 0]), []
    for t in range(7):
        now = x[0, t]
        r, k, v, g = (
            project(mix * now + (1 - mix) * previous)
            for mix, project in zip(
                mixer.ratios, (mixer.r_proj, mixer.k_proj, mixer.v_proj, mixer.g_proj), strict=True
            )
        )
        heads = []
        for h, part in enumerate((slice(0, 4), slice(4, 8))):
            kv = torch.outer(k[part], v[part])
            heads.append(r[part] @ (S[h] + torch.diag(u[h]) @ kv))
            S[h] = torch.diag(w[h]) @ S[h] + kv
        y = F.group_norm(torch.cat(heads)[None] / 8, 2, eps=1e-5)[0]
        outputs.append(mixer.out_proj(y * F.silu(g)))
        previous = now
    torch.testing.assert_close(mixer(x)[0], torch.stack(outputs), rtol=1e-9, atol=1e-11)


def test_the_future_changes_no_past_output() -> None:
    mixer, x = make(), draw(2, 80, 8)
    changed = x.clone()
    changed[:, 71:] += 1
    assert torch.equal(mixer(x)[:, :71], mixer(changed)[:, :71])


def test_state_has_exactly_the_last_token_and_a_square_a_head() -> None:
    mixer = make(torch.float32, d_model=64, head_dim=32)
    _, state = mixer.prefill(draw(1, 10, 64, dtype=torch.float32))
    assert state["token"].shape == (1, 64)
    assert state["wkv"].shape == (1, 2, 32, 32)
    assert state_bytes(state) == state_bytes(mixer.initial_state(1)) == (64 + 2 * 32 * 32) * 4


def test_matrix_state_stays_float32_in_a_bfloat16_module() -> None:
    mixer, x = make(torch.bfloat16), draw(2, 6, 8).bfloat16()
    y, state = mixer.prefill(x)
    stepped, stepped_state = scan(mixer, x)
    assert y.dtype == stepped.dtype == torch.bfloat16
    assert state["wkv"].dtype == stepped_state["wkv"].dtype == torch.float32
    assert state["token"].dtype == stepped_state["token"].dtype == torch.bfloat16
    torch.testing.assert_close(y, stepped, rtol=0.05, atol=0.02)


def test_step_leaves_the_given_state_alone() -> None:
    assert_step_leaves_its_state(make(), 8)


def test_gradients_equal_those_through_the_recurrence() -> None:
    mixer, x, weight = make(), draw(2, 70, 8), draw(2, 70, 8, seed=2)
    parameters = dict(mixer.named_parameters())
    found = torch.autograd.grad((weight * mixer(x)).sum(), list(parameters.values()))
    expected = torch.autograd.grad((weight * scan(mixer, x)[0]).sum(), list(parameters.values()))
    for name, a, b in zip(parameters, found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")
        assert a.abs().sum() > 0, name


def test_initial_values_are_those_published() -> None:
    mixer = make(d_model=64, head_dim=32)
    decay, bonus = mixer.decay.flatten(), mixer.bonus.flatten()
    assert decay[0] == -6
    assert decay[-1] == -1
    assert (decay.diff() > 0).all()
    torch.testing.assert_close(bonus[:4], torch.tensor([0, 0.1, -0.1, 0]).double())
    assert mixer.ratios.shape == (4, 64)
    torch.testing.assert_close(mixer.ratios[1], torch.arange(64).double() / 64)
    torch.testing.assert_close(mixer.ratios[0], mixer.ratios[1].sqrt())
    for parameter in (mixer.ratios, mixer.decay, mixer.bonus, mixer.norm_weight, mixer.norm_bias):
        assert parameter._no_weight_decay


def test_shapes_propagate_on_the_meta_device() -> None:
    with torch.device("meta"):
        mixer = RWKV5().mixer()
        x = torch.empty(1, 70, 64)
    y, state = mixer.prefill(x)
    stepped, next_state = mixer.step(x[:, 0], state)
    assert y.shape == x.shape
    assert stepped.shape == (1, 64)
    assert state_bytes(state) == state_bytes(next_state) == (64 + 64 * 64) * 4


def test_a_head_size_that_does_not_divide_the_width_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"must divide d_model=48. Got head_dim=64"):
        RWKV5(d_model=48)


def test_no_tokens_give_no_outputs_and_the_initial_state() -> None:
    mixer = make()
    y, state = mixer.prefill(draw(2, 0, 8))
    assert y.shape == (2, 0, 8)
    torch.testing.assert_close(state, mixer.initial_state(2), rtol=0, atol=0)
