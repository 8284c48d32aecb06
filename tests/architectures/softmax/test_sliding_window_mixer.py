import pytest
import torch
from pydantic import ValidationError
from recurrence import (
    assert_causal,
    assert_forms_agree,
    assert_runs_in_bfloat16_and_on_meta,
    draw,
    make,
)

from recall_bench.architectures.softmax.attention import Attention
from recall_bench.architectures.softmax.sliding_window import SlidingWindow
from recall_bench.model.state_size import measure_layers

CONFIGS = [
    SlidingWindow(d_model=8, window=1),
    SlidingWindow(d_model=8, window=5, num_heads=2),
    SlidingWindow(d_model=8, window=5, num_heads=2, rotary=True),
    SlidingWindow(d_model=8, window=500),
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("length", [0, 1, 4, 5, 6, 150])
def test_forward_prefill_and_steps_agree(config, length):
    assert_forms_agree(make(config), 8, length)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_it_is_causal_and_runs_in_bfloat16_and_on_meta(config):
    assert_causal(make(config), 8)
    assert_runs_in_bfloat16_and_on_meta(make(config), 8)


@pytest.mark.parametrize("rotary", [False, True])
def test_a_window_of_the_whole_sequence_is_attention(rotary):
    window = make(SlidingWindow(d_model=8, window=30, rotary=rotary))
    attention = make(Attention(d_model=8, rotary=rotary))
    x = draw(2, 30, 8)
    torch.testing.assert_close(window(x), attention(x))


@pytest.mark.parametrize("length", [20, 150])
def test_an_output_depends_on_exactly_window_inputs_the_current_one_included(length):
    mixer, x = make(SlidingWindow(d_model=8, window=6)), draw(1, length, 8).requires_grad_()
    (gradient,) = torch.autograd.grad(mixer(x)[0, length - 3].sum(), x)
    seen = gradient[0].abs().sum(-1).nonzero().flatten().tolist()
    assert seen == list(range(length - 8, length - 2))


@pytest.mark.parametrize("length", [0, 10, 1000])
def test_the_ring_holds_window_slots_and_a_position(length):
    layer = measure_layers(SlidingWindow(d_model=64, window=32, layers="self"), length)[0]
    assert layer.bytes == 2 * 32 * 64 * 4 + 8 == 16_392


def test_a_window_of_nothing_is_refused():
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        SlidingWindow(window=0)
