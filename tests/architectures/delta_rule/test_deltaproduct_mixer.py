import pytest
import torch
from by_hand import convolved, corrected, normed, unit
from recurrence import assert_forms_agree, draw, make
from torch import Tensor
from torch.nn import functional as F

from recall_bench.architectures.delta_rule.deltaproduct import DeltaProduct
from recall_bench.architectures.delta_rule.gated_deltanet import GatedDeltaNet
from recall_bench.architectures.delta_rule.gated_deltanet_layer import GatedDeltaNetMixer
from recall_bench.model.state_size import state_bytes

HEADS, KEYS, VALUES = 2, 3, 6  # at a width of 8


def by_hand(mixer: GatedDeltaNetMixer, x: Tensor, writes: int) -> Tensor:
    """The layer token by token, the maps ordered by write, then head: x (L, D) -> (L, D)."""
    qkv = convolved(x @ mixer.qkv.proj.weight.T, mixer.qkv.conv.weight)
    at_k, at_v = HEADS * KEYS, HEADS * KEYS * (1 + writes)
    S = [torch.zeros(KEYS, VALUES, dtype=x.dtype) for _ in range(HEADS)]
    rows = []
    for t in range(len(x)):
        parts = []
        for h in range(HEADS):
            if mixer.decay is not None:
                step = F.softplus(mixer.decay_proj.weight[h] @ x[t] + mixer.decay.dt_bias[h])
                S[h] = torch.exp(-torch.exp(mixer.decay.A_log[h]) * step) * S[h]
            for i in range(writes):
                head = i * HEADS + h
                k, v = qkv[t, at_k + head * KEYS :][:KEYS], qkv[t, at_v + head * VALUES :][:VALUES]
                beta = 2 * torch.sigmoid(mixer.beta_proj.weight[head] @ x[t])
                S[h] = corrected(S[h], unit(k), v, beta)
            q = unit(qkv[t, h * KEYS :][:KEYS])
            parts.append(normed(S[h].T @ q / KEYS**0.5, mixer.norm.weight))
        y = torch.cat(parts)
        if mixer.gate_proj is not None:
            y = y * F.silu(mixer.gate_proj.weight @ x[t])
        rows.append(mixer.out_proj.weight @ y)
    return torch.stack(rows)


@pytest.mark.parametrize(("writes", "decay"), [(1, True), (2, True), (3, False)])
def test_the_layer_follows_the_equations_of_the_paper(writes: int, decay: bool) -> None:
    mixer = make(DeltaProduct(d_model=8, writes=writes, decay=decay, gate=decay))
    x = draw(1, 30, 8)
    torch.testing.assert_close(mixer(x)[0], by_hand(mixer, x[0], writes), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("length", [1, 33])
def test_prefill_forward_and_steps_agree(length: int) -> None:
    assert_forms_agree(make(DeltaProduct(d_model=8)), 8, length)


def test_with_one_write_it_is_gated_deltanet() -> None:
    one = make(DeltaProduct(d_model=8, writes=1))
    gated = make(GatedDeltaNet(d_model=8, negative_eigenvalues=True))
    gated.load_state_dict(one.state_dict())
    x = draw(2, 40, 8)
    assert torch.equal(gated(x), one(x))


@pytest.mark.parametrize("writes", [1, 2, 3])
def test_only_the_tails_of_convolutions_grow_with_the_writes(writes: int) -> None:
    mixer = make(DeltaProduct(d_model=32, expand_k=1, writes=writes), torch.float32)
    tails = 3 * (32 + writes * (32 + 64))
    assert state_bytes(mixer.initial_state(1)) == 4 * (2 * 32**2 // 2 + tails)
