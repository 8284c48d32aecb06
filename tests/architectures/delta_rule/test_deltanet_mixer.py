import pytest
import torch
from by_hand import convolved, corrected, normed, unit
from pydantic import ValidationError
from recurrence import assert_forms_agree, draw, make
from torch import Tensor

from recall_bench.architectures.delta_rule.deltanet import DeltaNet
from recall_bench.architectures.delta_rule.deltanet_layer import DeltaNetMixer
from recall_bench.model.state_size import state_bytes


def by_hand(mixer: DeltaNetMixer, x: Tensor, heads: int, limit: float) -> Tensor:
    """The layer token by token: x (L, D) -> (L, D)."""
    width = x.shape[1]
    d = width // heads
    qkv = convolved(x @ mixer.qkv.proj.weight.T, mixer.qkv.conv.weight)
    S = [torch.zeros(d, d, dtype=x.dtype) for _ in range(heads)]
    rows = []
    for t in range(len(x)):
        parts = []
        for h in range(heads):
            q, k, v = (qkv[t, i * width + h * d :][:d] for i in range(3))
            beta = limit * torch.sigmoid(mixer.beta_proj.weight[h] @ x[t])
            S[h] = corrected(S[h], unit(k), v, beta)
            parts.append(normed(S[h].T @ unit(q) / d**0.5, mixer.norm.weight))
        rows.append(mixer.out_proj.weight @ torch.cat(parts))
    return torch.stack(rows)


@pytest.mark.parametrize("limit", [1, 2])
def test_the_layer_follows_the_equations_of_the_paper(limit: int) -> None:
    mixer = make(DeltaNet(d_model=8, num_heads=2, negative_eigenvalues=limit == 2))
    x = draw(1, 40, 8)
    torch.testing.assert_close(mixer(x)[0], by_hand(mixer, x[0], 2, limit), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("length", [1, 33, 70])
def test_prefill_forward_and_steps_agree(length: int) -> None:
    assert_forms_agree(make(DeltaNet(d_model=8)), 8, length)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_the_state_is_a_square_a_head_and_the_tails_of_three_convolutions(heads: int) -> None:
    mixer = make(DeltaNet(d_model=32, num_heads=heads), torch.float32)
    assert state_bytes(mixer.initial_state(1)) == 4 * (32**2 // heads + 9 * 32)


def test_a_number_of_heads_that_does_not_divide_the_width_is_refused() -> None:
    with pytest.raises(ValidationError, match="must be a multiple of num_heads"):
        DeltaNet(d_model=32, num_heads=3)
