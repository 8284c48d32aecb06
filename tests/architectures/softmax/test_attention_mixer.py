import math

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
from recall_bench.model.state_size import measure_layers, tensors

CONFIGS = [
    Attention(d_model=8),
    Attention(d_model=8, num_heads=2),
    Attention(d_model=8, num_heads=2, rotary=True),
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("length", [0, 1, 2, 33])
def test_forward_prefill_and_steps_agree(config, length):
    assert_forms_agree(make(config), 8, length)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_it_is_causal_and_runs_in_bfloat16_and_on_meta(config):
    assert_causal(make(config), 8)
    assert_runs_in_bfloat16_and_on_meta(make(config), 8)


def test_output_is_softmax_attention():
    mixer, x = make(Attention(d_model=6, num_heads=2)), draw(2, 9, 6)
    q, k, v = (y.unflatten(-1, (2, 3)) for y in mixer.qkv(x).chunk(3, -1))
    s = torch.einsum("blhd,bmhd->bhlm", q, k) / math.sqrt(3)
    s = s.masked_fill(torch.ones(9, 9, dtype=torch.bool).triu(1), -torch.inf)
    expected = mixer.out(torch.einsum("bhlm,bmhd->blhd", s.softmax(-1), v).flatten(-2))
    torch.testing.assert_close(mixer(x), expected)


@pytest.mark.parametrize(
    ("heads", "length", "expected"), [(1, 0, 0), (1, 100, 51_200), (4, 100, 51_200)]
)
def test_the_cache_holds_two_widths_a_token(heads, length, expected):
    layer = measure_layers(Attention(d_model=64, num_heads=heads, layers="self"), length)[0]
    assert layer.bytes == expected == 2 * 64 * length * 4


def test_the_cache_owns_its_memory():
    _, state = make(Attention(d_model=8)).prefill(draw(1, 50, 8))
    for tensor in tensors(state):
        assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(
        ValidationError, match=r"multiple of num_heads. Got d_model=64, num_heads=3"
    ):
        Attention(d_model=64, num_heads=3)


def test_rotary_refuses_an_odd_head_dimension():
    with pytest.raises(ValidationError, match=r"even head dimension.*Got 6 / 2 = 3"):
        Attention(d_model=6, num_heads=2, rotary=True)
