import pytest
import torch
from pydantic import ValidationError
from recurrence import assert_forms_agree, draw, make
from torch import Tensor

from recall_bench.architectures.delta_rule.rwkv7 import RWKV7, published_rank
from recall_bench.architectures.delta_rule.rwkv7_layer import RWKV7Mixer
from recall_bench.model.state_size import state_bytes


def moved(**knobs: int) -> RWKV7Mixer:
    """A mixer whose parameters have left their start, where many maps are zero."""
    mixer = make(RWKV7(**{"d_model": 8, "head_dim": 4, "decay_rank": 3, **knobs}))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator).double()
    return mixer


def by_hand(mixer: RWKV7Mixer, x: Tensor, d: int) -> Tensor:
    """The layer token by token: x (L, D) -> (L, D)."""
    width = x.shape[1]
    S = [torch.zeros(d, d, dtype=x.dtype) for _ in range(width // d)]
    before, rows = torch.zeros_like(x[0]), []
    for now in x:
        xr, xw, xk, xv, xa, xg = (m * now + (1 - m) * before for m in mixer.ratios)
        r, k, v = (
            m.weight @ z for m, z in ((mixer.r_proj, xr), (mixer.k_proj, xk), (mixer.v_proj, xv))
        )
        d_, a_, g_ = mixer.decay, mixer.rate, mixer.gate
        y = d_.up.bias + d_.up.weight @ torch.tanh(d_.down.weight @ xw)
        w = torch.exp(-torch.exp(-torch.nn.functional.softplus(-y) - 0.5))
        a = torch.sigmoid(a_.up.bias + a_.up.weight @ a_.down.weight @ xa)
        gate = g_.up.weight @ torch.sigmoid(g_.down.weight @ xg)
        removed, k = k * mixer.k_k, k * (1 + (a - 1) * mixer.k_a)
        outputs = []
        for h in range(width // d):
            part = slice(h * d, (h + 1) * d)
            kk = removed[part] / removed[part].norm()
            kept = torch.diag(w[part]) - torch.outer(a[part] * kk, kk)
            S[h] = kept @ S[h] + torch.outer(k[part], v[part])
            read = S[h].T @ r[part]
            scale = (read.var(unbiased=False) + 1e-5 * d).sqrt()
            normed = (read - read.mean()) / scale
            normed = normed * mixer.norm_weight[part] + mixer.norm_bias[part]
            outputs.append(normed + (r[part] * k[part] * mixer.r_k[h]).sum() * v[part])
        rows.append(mixer.out_proj.weight @ (torch.cat(outputs) * gate))
        before = now
    return torch.stack(rows)


@pytest.mark.parametrize("head_dim", [4, 8])
def test_the_layer_follows_the_equations_of_the_paper(head_dim: int) -> None:
    mixer, x = moved(head_dim=head_dim), draw(1, 40, 8)
    torch.testing.assert_close(mixer(x)[0], by_hand(mixer, x[0], head_dim), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("length", [1, 33, 70])
def test_prefill_forward_and_steps_agree(length: int) -> None:
    assert_forms_agree(moved(), 8, length)


@pytest.mark.parametrize("head_dim", [16, 64])
def test_the_state_is_the_last_token_and_a_square_a_head(head_dim: int) -> None:
    mixer = make(RWKV7(d_model=64, head_dim=head_dim), torch.float32)
    assert state_bytes(mixer.initial_state(1)) == 4 * (64 * head_dim + 64)


def test_initial_values_are_those_published() -> None:
    mixer = make(RWKV7(d_model=128))
    assert mixer.decay.up.bias.shape == mixer.k_k.shape == (128,)
    i, c = 70, 70 % 64  # a channel of the second head
    z = (c - 31.5) / 31.5
    bias = -6 + 6 * i / 127 + 0.5 + 2.5 * z * abs(z)
    assert mixer.decay.up.bias[i].item() == pytest.approx(bias, rel=1e-5)
    line = i / 127 - 0.5
    assert mixer.rate.up.bias[i].item() == pytest.approx(
        -0.19 + 0.3 * z * abs(z) + 0.4 * line, 1e-4
    )
    assert mixer.k_k[i].item() == pytest.approx(0.71 - 0.1 * line, rel=1e-5)
    assert mixer.ratios[3, i].item() == pytest.approx((i / 128) ** 0.7, rel=1e-5)
    up = mixer.gate.up.weight.T  # (rank, width)
    torch.testing.assert_close(up @ up.T, 0.01 * torch.eye(len(up)).double(), rtol=0, atol=1e-8)
    assert not mixer.out_proj.weight.any()
    assert not mixer.decay.down.weight.any()
    assert all(p._no_reinit for p in mixer.parameters())
    decayed = {n for n, p in mixer.named_parameters() if not hasattr(p, "_no_weight_decay")}
    assert decayed == {f"{name}_proj.weight" for name in ("r", "k", "v", "out")}


def test_ranks_are_those_published_unless_given() -> None:
    assert [published_rank(2.5, d) for d in (64, 1024, 2048)] == [32, 64, 128]
    mixer = make(RWKV7(gate_rank=64))
    assert (mixer.decay.up.in_features, mixer.gate.up.in_features) == (32, 64)


def test_a_head_size_that_does_not_divide_the_width_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"must divide d_model=48. Got head_dim=64"):
        RWKV7(d_model=48)
