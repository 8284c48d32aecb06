import math

import pytest
import torch
from pydantic import ValidationError
from recurrence import assert_forms_agree, draw, make, rms_norm
from torch.nn import functional as F

from recall_bench.architectures.linear_attention.gla import GLA
from recall_bench.architectures.linear_attention.gla_layer import TEMPERATURE
from recall_bench.architectures.linear_attention.hgrn2 import HGRN2
from recall_bench.kernels.gated_linear import gated_linear
from recall_bench.model.state_size import measure_layers

CONFIGS = [HGRN2(d_model=8, head_dim=4), HGRN2(d_model=8, head_dim=2, lower_bound=0.3)]
each = pytest.mark.parametrize("config", CONFIGS, ids=str)


@each
@pytest.mark.parametrize("length", [0, 1, 17, 65])
def test_forward_prefill_and_steps_agree(config: HGRN2, length: int) -> None:
    assert_forms_agree(make(config), 8, length)


@each
def test_output_follows_the_equations_of_the_paper_token_by_token(config: HGRN2) -> None:
    mixer, x, d, b = make(config), draw(70, 8), config.head_dim, config.lower_bound
    W_q, W_f, W_v = mixer.qwv.weight.split(8)
    S, outputs = torch.zeros(8 // d, d, d, dtype=x.dtype), []
    for token in x:
        q, f, v = F.silu(W_q @ token), b + (1 - b) * torch.sigmoid(W_f @ token), W_v @ token
        heads = []
        for h in range(8 // d):
            part = slice(d * h, d * h + d)
            S[h] = torch.diag(f[part]) @ S[h] + torch.outer(1 - f[part], v[part])
            heads.append(S[h].T @ q[part] / d**0.5)
        outputs.append(mixer.out.weight @ (rms_norm(torch.cat(heads)) * mixer.norm.weight))
    torch.testing.assert_close(mixer(x[None])[0], torch.stack(outputs), rtol=1e-9, atol=1e-12)


@torch.no_grad()
def test_it_is_gla_with_tied_keys() -> None:
    """The recurrence alone, with the decays of a GLA layer and keys that are 1 - decay."""
    gla = make(GLA(d_model=8, num_heads=2, expand_k=1, gate_rank=8))
    mixer, x = make(CONFIGS[0]), draw(2, 70, 8)
    gla.decay[0].weight.copy_(torch.eye(8))
    gla.decay[1].weight.copy_(mixer.qwv.weight[8:16])
    gla.decay[1].bias.zero_()
    log_decay = TEMPERATURE * F.logsigmoid(gla.decay(x)) / TEMPERATURE
    q, _, v = mixer.qwv(x).unflatten(-1, (3, 2, 4)).unbind(-3)
    log_decay = log_decay.unflatten(-1, (2, 4))
    y = gated_linear(F.silu(q) / 2, 1 - log_decay.exp(), v, log_decay)
    expected = mixer.out(rms_norm(y.flatten(-2)))
    torch.testing.assert_close(mixer(x), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("width", "head_dim"), [(64, 32), (128, 128)])
def test_the_state_is_head_dim_per_channel(width: int, head_dim: int) -> None:
    config = HGRN2(d_model=width, head_dim=head_dim, layers="self")
    assert measure_layers(config, 100)[0].bytes == 4 * width * head_dim


@pytest.mark.parametrize("bound", [0.0, 0.5])
def test_a_decay_is_its_lower_bound_at_least_and_stays_finite(bound: float) -> None:
    mixer = make(HGRN2(d_model=8, head_dim=4, lower_bound=bound), torch.float32)
    w = torch.tensor([-1e4, -30.0, 0.0, 1e4])
    expected = [max(bound, 1e-300), bound + (1 - bound) * 1e-13, (1 + bound) / 2, 1]
    rates = mixer._log_decay(w)
    assert rates.isfinite().all()
    if bound:
        torch.testing.assert_close(rates, torch.tensor([math.log(value) for value in expected]))
    mixer(1e3 * draw(2, 70, 8, dtype=torch.float32)).square().sum().backward()
    for name, parameter in mixer.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_a_head_size_that_does_not_divide_the_width_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"must divide d_model=48. Got head_dim=64"):
        HGRN2(d_model=48)
