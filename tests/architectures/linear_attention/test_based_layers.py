import pytest
import torch
from pydantic import ValidationError
from recurrence import assert_forms_agree

from recall_bench.architectures.convolution.short_conv_layer import ShortConvMixer
from recall_bench.architectures.linear_attention.based import Based
from recall_bench.architectures.linear_attention.taylor_attention_layer import TaylorAttentionMixer
from recall_bench.architectures.softmax.sliding_window_layer import SlidingWindowMixer
from recall_bench.model.state_size import measure_layers


def test_the_stack_is_convolution_then_linear_attention_then_window():
    names, mixers = zip(*Based().stack(), strict=True)
    assert names == ("short-conv", "taylor-attention", "sliding-window")
    kinds = [ShortConvMixer, TaylorAttentionMixer, SlidingWindowMixer]
    assert [type(mixer) for mixer in mixers] == kinds


def test_window_0_leaves_the_window_layer_out_as_in_figure_2():
    assert [name for name, _ in Based(window=0).stack()] == ["short-conv", "taylor-attention"]


def test_knobs_reach_the_layers_they_name():
    config = Based(d_model=32, feature_dim=8, window=5, num_heads=2, kernel_size=4, rotary=True)
    conv, taylor, window = (mixer for _, mixer in config.stack())
    assert conv.conv.weight.shape == (32, 4)
    assert (taylor.feature_dim, taylor.num_heads, taylor.head_dim) == (8, 2, 16)
    assert (window.window, window.num_heads, window.rotary) == (5, 2, True)


@pytest.mark.parametrize("layers", ["self+sliding-window", "based+sliding-window"])
def test_self_is_the_taylor_attention(layers):
    assert isinstance(Based(layers=layers).mixer(), TaylorAttentionMixer)
    assert isinstance(Based(layers=layers).stack()[0][1], TaylorAttentionMixer)


def test_state_bytes_are_the_sum_of_exact_parts():
    conv, taylor, window = measure_layers(Based(d_model=64, feature_dim=16, window=32), 100)
    assert conv.bytes == 2 * 64 * 4
    assert taylor.bytes == 153 * 65 * 4
    assert window.bytes == 2 * 32 * 64 * 4 + 8


def test_every_layer_agrees_with_its_recurrence():
    torch.manual_seed(0)
    for _, mixer in Based(d_model=8, feature_dim=4, window=3, rotary=True).stack():
        assert_forms_agree(mixer.double(), 8, 70)


def test_a_stack_of_no_layers_is_refused():
    with pytest.raises(ValidationError, match="window must be at least 1"):
        Based(layers="sliding-window", window=0)


def test_rotary_refuses_an_odd_head_dimension():
    with pytest.raises(ValidationError, match=r"even head dimension.*Got 6 / 2 = 3"):
        Based(d_model=6, num_heads=2, rotary=True)
