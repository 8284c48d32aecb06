import math

import pytest
import torch
from pydantic import ValidationError
from recurrence import assert_forms_agree, draw, make, rms_norm
from torch.nn import functional as F

from recall_bench.architectures.linear_attention.retnet import RetNet
from recall_bench.model.state_size import measure_layers

CONFIG = RetNet(d_model=8, num_heads=2)


@pytest.mark.parametrize("length", [0, 1, 17, 65])
def test_forward_prefill_and_steps_agree(length: int) -> None:
    assert_forms_agree(make(CONFIG), 8, length)


def test_output_follows_the_equations_of_the_paper_token_by_token() -> None:
    """Rotary embeddings as products with exp(i n theta), theta = 1 and 1/100."""
    mixer, x = make(CONFIG), draw(70, 8)
    W_q, W_k, W_v = mixer.qkv.weight.split([8, 8, 16])
    S, outputs = torch.zeros(2, 4, 8, dtype=x.dtype), []
    for n, token in enumerate(x):
        turn = torch.polar(torch.ones(2).double(), torch.tensor([n, n / 100], dtype=x.dtype))
        q, k, v = W_q @ token, W_k @ token, W_v @ token
        heads = []
        for h in range(2):
            pairs = [torch.complex(*part[4 * h : 4 * h + 4].split(2)) * turn for part in (q, k)]
            q_h, k_h = (torch.cat([pair.real, pair.imag]) for pair in pairs)
            S[h] = (1 - 2 ** (-5 - h)) * S[h] + torch.outer(k_h, v[8 * h : 8 * h + 8])
            heads.append(rms_norm(S[h].T @ q_h / 2) * mixer.norm.weight)
        outputs.append(mixer.out.weight @ (torch.cat(heads) * F.silu(mixer.gate.weight @ token)))
    torch.testing.assert_close(mixer(x[None])[0], torch.stack(outputs), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("width", "heads"), [(64, 2), (128, 8)])
def test_the_state_is_one_matrix_per_head_and_a_counter(width: int, heads: int) -> None:
    config = RetNet(d_model=width, num_heads=heads, layers="self")
    assert measure_layers(config, 100)[0].bytes == 4 * 2 * width**2 // heads + 8


def test_half_lives_of_eight_heads_reach_from_22_to_2800_tokens() -> None:
    rates = make(RetNet(d_model=32))._log_decay(torch.zeros(1))
    lives = -math.log(2) / rates
    assert 21.8 < lives[0] < 22
    assert 2800 < lives[-1] < 2850


def test_an_odd_head_size_is_refused() -> None:
    with pytest.raises(ValidationError, match="rotary needs an even head dimension"):
        RetNet(d_model=24, num_heads=8)
