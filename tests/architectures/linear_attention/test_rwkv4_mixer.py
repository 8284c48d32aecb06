import math

import pytest
import torch
from recurrence import assert_forms_agree, draw, make

from recall_bench.architectures.linear_attention.rwkv4 import RWKV4
from recall_bench.model.state_size import measure_layers

CONFIG = RWKV4(d_model=6)


@pytest.mark.parametrize("length", [0, 1, 17, 65])
def test_forward_prefill_and_steps_agree(length: int) -> None:
    assert_forms_agree(make(CONFIG), 6, length)


@torch.no_grad()
def test_output_follows_the_equations_of_the_paper_token_by_token() -> None:
    """The sums as the paper writes them, without a common factor."""
    mixer, x = make(CONFIG), draw(40, 6)
    w, u = -mixer.decay.exp(), mixer.bonus
    previous = torch.cat([torch.zeros(1, 6).double(), x[:-1]])
    k, v, r = (
        (m * x + (1 - m) * previous) @ project.weight.mT
        for m, project in zip(mixer.ratios, (mixer.k_proj, mixer.v_proj, mixer.r_proj), strict=True)
    )
    outputs = []
    for t in range(40):
        weights = [torch.exp((t - 1 - j) * w + k[j]) for j in range(t)] + [torch.exp(u + k[t])]
        mean = sum(a * value for a, value in zip(weights, v, strict=False)) / sum(weights)
        outputs.append(mixer.out_proj.weight @ (torch.sigmoid(r[t]) * mean))
    torch.testing.assert_close(mixer(x[None])[0], torch.stack(outputs), rtol=1e-9, atol=1e-12)


def test_the_state_is_four_numbers_per_channel() -> None:
    assert measure_layers(RWKV4(d_model=64, layers="self"), 100)[0].bytes == 4 * 4 * 64


def test_the_future_changes_no_past_output_not_even_by_rounding() -> None:
    mixer, x = make(CONFIG, torch.float32), draw(2, 80, 6, dtype=torch.float32)
    changed = x.clone()
    changed[:, 71:] += 1e4
    assert torch.equal(mixer(x)[:, :71], mixer(changed)[:, :71])


def test_gradients_reach_every_parameter_and_stay_finite_for_large_inputs() -> None:
    for scale in (1, 1e3):
        mixer = make(CONFIG, torch.float32)
        mixer(scale * draw(2, 70, 6, dtype=torch.float32)).square().sum().backward()
        for name, parameter in mixer.named_parameters():
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().sum() > 0 or scale > 1, name


def test_initial_values_are_those_published() -> None:
    mixer = make(RWKV4(d_model=64))
    ramp = torch.arange(64).double() / 64
    torch.testing.assert_close(mixer.ratios[:2], ramp.expand(2, 64))
    torch.testing.assert_close(mixer.ratios[2], ramp.sqrt(), atol=1e-6, rtol=0)
    assert (mixer.decay[0], mixer.decay[-1]) == (-5, 3)
    expected = math.log(0.3) + torch.tensor([0, 0.5, -0.5, 0]).double()
    torch.testing.assert_close(mixer.bonus[:4], expected, atol=1e-6, rtol=0)
    for parameter in (mixer.ratios, mixer.decay, mixer.bonus):
        assert parameter._no_weight_decay
