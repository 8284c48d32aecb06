import pytest
import torch
from by_hand import convolved, corrected, normed, unit
from recurrence import assert_forms_agree, draw, make
from torch import Tensor
from torch.nn import functional as F

from recall_bench.architectures.delta_rule.gated_deltanet import GatedDeltaNet
from recall_bench.architectures.delta_rule.kda import KDA
from recall_bench.architectures.delta_rule.kda_layer import KDAMixer
from recall_bench.model.state_size import state_bytes


def by_hand(mixer: KDAMixer, x: Tensor, d_v: int, bounded: bool) -> Tensor:
    """The layer token by token, with two heads: x (L, D) -> (L, D)."""
    width = x.shape[1]
    d = width // 2
    qkv = convolved(x @ mixer.qkv.proj.weight.T, mixer.qkv.conv.weight)
    S = [torch.zeros(d, d_v, dtype=x.dtype) for _ in range(2)]
    rows = []
    for t in range(len(x)):
        parts = []
        steps = mixer.decay_up.weight @ mixer.decay_down.weight @ x[t] + mixer.decay.dt_bias
        for h in range(2):
            q, k = qkv[t, h * d :][:d], qkv[t, width + h * d :][:d]
            v = qkv[t, 2 * width + h * d_v :][:d_v]
            rate, step = torch.exp(mixer.decay.A_log[h]), steps[h * d :][:d]
            g = -5 * torch.sigmoid(rate * step) if bounded else -rate * F.softplus(step)
            beta = torch.sigmoid(mixer.beta_proj.weight[h] @ x[t])
            S[h] = corrected(torch.diag(g.exp()) @ S[h], unit(k), v, beta)
            parts.append(normed(S[h].T @ unit(q) / d**0.5, mixer.norm.weight))
        gate = mixer.gate_up.weight @ mixer.gate_down.weight @ x[t] + mixer.gate_up.bias
        rows.append(mixer.out_proj.weight @ (torch.cat(parts) * torch.sigmoid(gate)))
    return torch.stack(rows)


@pytest.mark.parametrize(("expand_v", "bounded"), [(1, False), (2, False), (1, True)])
def test_the_layer_follows_the_equations_of_the_paper(expand_v: int, bounded: bool) -> None:
    mixer = make(KDA(d_model=8, expand_v=expand_v, bounded=bounded))
    x = draw(1, 40, 8)
    expected = by_hand(mixer, x[0], 4 * expand_v, bounded)
    torch.testing.assert_close(mixer(x)[0], expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("length", [1, 33, 70])
def test_prefill_forward_and_steps_agree(length: int) -> None:
    assert_forms_agree(make(KDA(d_model=8)), 8, length)


def test_with_one_decay_for_all_channels_it_is_gated_deltanet_behind_another_gate() -> None:
    kda = make(KDA(d_model=8))
    gated = make(GatedDeltaNet(d_model=8, expand_k=1, expand_v=1, gate=False))
    with torch.no_grad():
        for name in ("qkv", "beta_proj", "norm", "out_proj"):
            getattr(gated, name).load_state_dict(getattr(kda, name).state_dict())
        gated.decay.A_log.copy_(kda.decay.A_log)
        kda.decay.dt_bias.copy_(gated.decay.dt_bias.repeat_interleave(4))
        kda.decay_up.weight.copy_(kda.decay_up.weight[::4].repeat_interleave(4, 0))
        gated.decay_proj.weight.copy_(kda.decay_up.weight[::4] @ kda.decay_down.weight)
        kda.gate_up.weight.zero_()
        kda.gate_up.bias.zero_()  # sigmoid opens the gate by half
        x = draw(2, 70, 8)
        torch.testing.assert_close(2 * kda(x), gated(x), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("heads", "expand_v"), [(1, 1), (2, 1), (4, 2)])
def test_the_state_is_a_matrix_a_head_and_the_tails_of_three_convolutions(
    heads: int, expand_v: int
) -> None:
    mixer = make(KDA(d_model=32, num_heads=heads, expand_v=expand_v), torch.float32)
    d = 32 // heads
    numbers = heads * d * d * expand_v + 3 * heads * (2 * d + expand_v * d)
    assert state_bytes(mixer.initial_state(1)) == 4 * numbers


def test_rates_start_between_1_and_16_or_at_1_where_decays_are_bounded() -> None:
    rates = make(KDA(d_model=64, num_heads=32)).decay.A_log.exp()
    assert rates.min() >= 1
    assert rates.max() <= 16
    assert (make(KDA(d_model=64, bounded=True)).decay.A_log == 0).all()
