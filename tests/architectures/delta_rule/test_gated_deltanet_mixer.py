import pytest
import torch
from by_hand import convolved, corrected, normed, unit
from pydantic import ValidationError
from recurrence import assert_forms_agree, draw, make
from torch import Tensor
from torch.nn import functional as F

from recall_bench.architectures.delta_rule.deltanet import DeltaNet
from recall_bench.architectures.delta_rule.gated_deltanet import GatedDeltaNet
from recall_bench.architectures.delta_rule.gated_deltanet_layer import GatedDeltaNetMixer
from recall_bench.model.state_size import state_bytes


def by_hand(mixer: GatedDeltaNetMixer, x: Tensor, heads: int, d_k: int, d_v: int) -> Tensor:
    """The layer token by token: x (L, D) -> (L, D)."""
    keys = heads * d_k
    qkv = convolved(x @ mixer.qkv.proj.weight.T, mixer.qkv.conv.weight)
    S = [torch.zeros(d_k, d_v, dtype=x.dtype) for _ in range(heads)]
    rows = []
    for t in range(len(x)):
        parts = []
        for h in range(heads):
            q, k = qkv[t, h * d_k :][:d_k], qkv[t, keys + h * d_k :][:d_k]
            v = qkv[t, 2 * keys + h * d_v :][:d_v]
            beta = torch.sigmoid(mixer.beta_proj.weight[h] @ x[t])
            step = F.softplus(mixer.decay_proj.weight[h] @ x[t] + mixer.decay.dt_bias[h])
            decay = torch.exp(-torch.exp(mixer.decay.A_log[h]) * step)
            S[h] = corrected(decay * S[h], unit(k), v, beta)
            parts.append(normed(S[h].T @ unit(q) / d_k**0.5, mixer.norm.weight))
        y = torch.cat(parts)
        if mixer.gate_proj is not None:
            y = y * F.silu(mixer.gate_proj.weight @ x[t])
        rows.append(mixer.out_proj.weight @ y)
    return torch.stack(rows)


@pytest.mark.parametrize("gate", [True, False])
def test_the_layer_follows_the_equations_of_the_paper(gate: bool) -> None:
    mixer, x = make(GatedDeltaNet(d_model=8, gate=gate)), draw(1, 40, 8)
    torch.testing.assert_close(mixer(x)[0], by_hand(mixer, x[0], 2, 3, 6), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("length", [1, 33, 70])
def test_prefill_forward_and_steps_agree(length: int) -> None:
    assert_forms_agree(make(GatedDeltaNet(d_model=8)), 8, length)


def test_without_a_decay_it_is_deltanet() -> None:
    plain = make(DeltaNet(d_model=8))
    gated = make(GatedDeltaNet(d_model=8, expand_k=1, expand_v=1, gate=False))
    gated.load_state_dict(plain.state_dict(), strict=False)
    with torch.no_grad():
        gated.decay.A_log.fill_(-torch.inf)
    x = draw(2, 70, 8)
    torch.testing.assert_close(gated(x), plain(x), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_the_state_is_a_matrix_a_head_and_the_tails_of_three_convolutions(heads: int) -> None:
    mixer = make(GatedDeltaNet(d_model=32, num_heads=heads, expand_k=1), torch.float32)
    assert state_bytes(mixer.initial_state(1)) == 4 * (2 * 32**2 // heads + 12 * 32)


def test_rates_and_step_sizes_start_as_published_and_have_no_weight_decay() -> None:
    decay = make(GatedDeltaNet(d_model=64, num_heads=64, expand_k=1)).decay
    assert (decay.A_log.exp() < 16).all()
    assert decay.A_log.exp().min() < 1
    steps = F.softplus(decay.dt_bias)
    assert (steps > 0.99e-3).all()
    assert (steps < 0.101).all()
    assert decay.A_log._no_weight_decay
    assert decay.dt_bias._no_weight_decay


def test_keys_without_a_whole_number_of_channels_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"expand_k d_model = 24. Got num_heads=5"):
        GatedDeltaNet(d_model=32, num_heads=5)
