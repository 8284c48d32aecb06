import pytest
import torch
from by_hand import convolved, corrected, normed, unit
from pydantic import ValidationError
from recurrence import assert_causal, assert_forms_agree, draw, make
from torch import Tensor
from torch.nn import functional as F

from recall_bench.architectures.delta_rule.gated_deltanet import GatedDeltaNet
from recall_bench.architectures.delta_rule.mom import MoM
from recall_bench.architectures.delta_rule.mom_layer import MoMMixer
from recall_bench.model.state_size import state_bytes

HEADS, KEYS, VALUES = 2, 2, 4  # at a width of 8 with values twice as wide as keys


def by_hand(mixer: MoMMixer, x: Tensor, memories: int, top_k: int) -> Tensor:
    """The layer token by token; memories beyond the router's take all tokens: (L, D) -> (L, D)."""
    q_size, v_size = HEADS * KEYS, HEADS * VALUES
    wq, wk, wv = mixer.conv.weight.split([q_size, q_size, v_size])
    filters = torch.cat([wq, *[wk] * memories, *[wv] * memories])
    qkv = convolved(x @ mixer.qkv_proj.weight.T, filters)
    at_v = q_size * (1 + memories)
    S = torch.zeros(memories, HEADS, KEYS, VALUES, dtype=x.dtype)
    rows = []
    for t in range(len(x)):
        p = torch.softmax(mixer.router.weight @ x[t], 0)
        chosen = p.argsort(descending=True)[:top_k].tolist()
        weights = {m: p[m] / p[chosen].sum() for m in chosen}
        weights |= {m: torch.tensor(1.0) for m in range(len(p), memories)}
        total = torch.zeros(HEADS, VALUES, dtype=x.dtype)
        for m, weight in weights.items():
            for h in range(HEADS):
                head = m * HEADS + h
                k = qkv[t, q_size + head * KEYS :][:KEYS]
                v = qkv[t, at_v + head * VALUES :][:VALUES]
                beta = torch.sigmoid(mixer.beta_proj.weight[head] @ x[t])
                step = F.softplus(mixer.decay_proj.weight[head] @ x[t] + mixer.decay.dt_bias[h])
                decay = torch.exp(-torch.exp(mixer.decay.A_log[h]) * step)
                S[m, h] = corrected(decay * S[m, h], unit(k), v, beta)
                total[h] += weight * S[m, h].T @ unit(qkv[t, h * KEYS :][:KEYS]) / KEYS**0.5
        y = torch.cat([normed(part, mixer.norm.weight) for part in total])
        rows.append(mixer.out_proj.weight @ (y * F.silu(mixer.gate_proj.weight @ x[t])))
    return torch.stack(rows)


@torch.no_grad()
@pytest.mark.parametrize(("top_k", "shared"), [(1, False), (2, True)])
def test_the_layer_follows_the_equations_of_the_paper(top_k: int, shared: bool) -> None:
    knobs = {"d_model": 8, "num_memories": 3, "expand_v": 2}
    mixer = make(MoM(**knobs, top_k=top_k, shared_memory=shared))
    x = draw(1, 30, 8)
    expected = by_hand(mixer, x[0], 3 + shared, top_k)
    torch.testing.assert_close(mixer(x)[0], expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("length", [1, 33])
def test_prefill_forward_and_steps_agree(length: int) -> None:
    assert_forms_agree(make(MoM(d_model=8)), 8, length)


def test_the_future_changes_no_past_output() -> None:
    assert_causal(make(MoM(d_model=8)), 8)


def test_with_one_memory_it_is_gated_deltanet() -> None:
    mom = make(MoM(d_model=8, num_memories=1, top_k=1, shared_memory=False))
    gated = make(GatedDeltaNet(d_model=8, expand_k=0.5, expand_v=1))
    with torch.no_grad():
        for name in ("beta_proj", "decay_proj", "decay", "gate_proj", "norm", "out_proj"):
            getattr(gated, name).load_state_dict(getattr(mom, name).state_dict())
        gated.qkv.proj.weight.copy_(mom.qkv_proj.weight)
        gated.qkv.conv.weight.copy_(mom.conv.weight)
    x = draw(2, 40, 8)
    torch.testing.assert_close(mom(x), gated(x), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("shared", [False, True])
def test_idle_memories_count_as_state(shared: bool) -> None:
    mixer = make(MoM(d_model=32, num_memories=3, shared_memory=shared), torch.float32)
    memories = 3 + shared
    tails = 3 * (16 + memories * (16 + 16))
    assert state_bytes(mixer.initial_state(1)) == 4 * (memories * 2 * 8 * 8 + tails)


def test_the_balancing_loss_is_least_where_all_memories_are_chosen_alike() -> None:
    mixer = make(MoM(d_model=8, num_memories=2, top_k=1))
    with torch.no_grad():
        mixer.router.weight.zero_()
        mixer.router.weight[:, 0] = torch.tensor([1.0, -1.0])
    x = draw(4, 50, 8)
    x[:, ::2, 0], x[:, 1::2, 0] = 2.0, -2.0
    mixer(x)
    even = mixer.losses["balance"]
    x[..., 0] = 2.0
    mixer(x)
    assert even.item() == pytest.approx(0.01)
    p = torch.sigmoid(torch.tensor(4.0)).item()
    assert mixer.losses["balance"].item() == pytest.approx(0.02 * p)


def test_more_choices_than_memories_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"at most num_memories=2. Got top_k=3"):
        MoM(num_memories=2, top_k=3)
