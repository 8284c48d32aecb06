import pytest
import torch
from recurrence import (
    assert_causal,
    assert_forms_agree,
    assert_runs_in_bfloat16_and_on_meta,
    draw,
    make,
)
from torch.nn import functional as F

from recall_bench.architectures.convolution.short_conv import ShortConv
from recall_bench.model.state_size import measure_layers

CONFIGS = [
    ShortConv(d_model=8),
    ShortConv(d_model=8, kernel_size=1),
    ShortConv(d_model=8, kernel_size=6),
    ShortConv(d_model=8, form="language-model"),
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("length", [0, 1, 2, 3, 40])
def test_forward_prefill_and_steps_agree(config, length):
    assert_forms_agree(make(config), 8, length)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_it_is_causal_and_runs_in_bfloat16_and_on_meta(config):
    assert_causal(make(config), 8)
    assert_runs_in_bfloat16_and_on_meta(make(config), 8)


def test_the_synthetic_form_is_the_convolution_times_a_projection_plus_the_input():
    mixer, x = make(ShortConv(d_model=8)), draw(2, 9, 8)
    conv = F.conv1d(F.pad(x.mT, (2, 0)), mixer.conv.weight[:, None], mixer.conv.bias, groups=8).mT
    torch.testing.assert_close(mixer(x), conv * mixer.gate(x) + x)


def test_the_language_model_form_gates_twice_the_width():
    mixer, x = make(ShortConv(d_model=8, form="language-model")), draw(2, 9, 8)
    u, gate = mixer.project(x).split(16, -1)
    conv = F.conv1d(F.pad(u.mT, (2, 0)), mixer.conv.weight[:, None], mixer.conv.bias, groups=16).mT
    torch.testing.assert_close(mixer(x), mixer.out(F.silu(conv) * gate))


@pytest.mark.parametrize(
    ("knobs", "expected"),
    [
        ({}, 2 * 64 * 4),
        ({"kernel_size": 1}, 0),
        ({"kernel_size": 4}, 3 * 64 * 4),
        ({"form": "language-model"}, 2 * 128 * 4),
    ],
)
def test_the_state_is_the_last_inputs_under_the_kernel(knobs, expected):
    layer = measure_layers(ShortConv(d_model=64, layers="self", **knobs), 100)[0]
    assert layer.bytes == expected


def test_weights_are_drawn_like_those_of_a_conv1d():
    torch.manual_seed(0)
    conv = ShortConv(d_model=4096, kernel_size=4).mixer().conv
    reference = torch.nn.Conv1d(4096, 4096, 4, groups=4096)
    for ours, theirs in ((conv.weight, reference.weight), (conv.bias, reference.bias)):
        assert ours.abs().max() <= 0.5
        assert ours.std().item() == pytest.approx(theirs.std().item(), rel=0.05)
