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

from recall_bench.architectures.linear_attention.taylor_attention import TaylorAttention
from recall_bench.model.state_size import measure_layers

CONFIGS = [
    TaylorAttention(d_model=8, feature_dim=4),
    TaylorAttention(d_model=8, feature_dim=5, num_heads=2),
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("length", [0, 1, 2, 65, 515])
def test_forward_prefill_and_steps_agree(config, length):
    assert_forms_agree(make(config), 8, length)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_it_is_causal_and_runs_in_bfloat16_and_on_meta(config):
    assert_causal(make(config), 8)
    assert_runs_in_bfloat16_and_on_meta(make(config), 8)


def test_output_is_attention_with_the_expansion_in_place_of_the_exponential():
    mixer, x = make(TaylorAttention(d_model=8, feature_dim=3, num_heads=2)), draw(2, 9, 8)
    q, k, v = mixer.qkv(x).split((6, 6, 8), -1)
    q, k, v = q.unflatten(-1, (2, 3)), k.unflatten(-1, (2, 3)), v.unflatten(-1, (2, 4))
    s = torch.einsum("blhd,bmhd->bhlm", q, k) / math.sqrt(3)
    weights = (1 + s + s**2 / 2).tril()
    weights = weights / weights.sum(-1, keepdim=True)
    expected = mixer.out(torch.einsum("bhlm,bmhd->blhd", weights, v).flatten(-2))
    torch.testing.assert_close(mixer(x), expected)


@pytest.mark.parametrize(
    ("width", "feature_dim", "heads", "expected"),
    [
        (64, 16, 1, 153 * 65 * 4),
        (64, 8, 1, 45 * 65 * 4),
        (128, 24, 1, 325 * 129 * 4),
        (64, 16, 4, 4 * 153 * 17 * 4),
    ],
)
def test_the_state_is_the_packed_features_times_values_and_a_normaliser(
    width, feature_dim, heads, expected
):
    config = TaylorAttention(d_model=width, feature_dim=feature_dim, num_heads=heads, layers="self")
    assert measure_layers(config, 100)[0].bytes == expected


def test_the_state_stays_in_float32_under_bfloat16():
    config = TaylorAttention(d_model=64, layers="self")
    assert measure_layers(config, 100, torch.bfloat16)[0].bytes == 153 * 65 * 4


def test_projections_have_no_bias():
    assert {name for name, _ in make(CONFIGS[0]).named_parameters()} == {"qkv.weight", "out.weight"}


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValidationError, match=r"Got d_model=64, num_heads=3"):
        TaylorAttention(d_model=64, num_heads=3)
