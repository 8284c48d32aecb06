import pytest
import torch
from recurrence import assert_forms_agree, draw, make
from torch.nn import functional as F

from recall_bench.architectures.linear_attention.rebased import ReBased
from recall_bench.model.state_size import measure_layers

CONFIG = ReBased(d_model=8, feature_dim=3, num_heads=2)


@pytest.mark.parametrize("length", [0, 1, 17, 65])
def test_forward_prefill_and_steps_agree(length: int) -> None:
    assert_forms_agree(make(CONFIG), 8, length)


@torch.no_grad()
def test_output_follows_the_equations_of_the_paper_token_by_token() -> None:
    """With unpacked features vec(x x^T) and the state that the paper has."""
    mixer, x = make(CONFIG), draw(70, 8)
    for norm in (mixer.q_norm, mixer.k_norm):
        norm.weight.copy_(draw(6, seed=2))
        norm.bias.copy_(draw(6, seed=3))
    W_q, W_k, W_v = mixer.qkv.weight.split([6, 6, 8])
    S, z, outputs = torch.zeros(2, 9, 4).double(), torch.zeros(2, 9).double(), []
    for token in x:
        q = F.layer_norm(W_q @ token, (6,)) * mixer.q_norm.weight + mixer.q_norm.bias
        k = F.layer_norm(W_k @ token, (6,)) * mixer.k_norm.weight + mixer.k_norm.bias
        v, heads = W_v @ token, []
        for h in range(2):
            q_h, k_h = q[3 * h : 3 * h + 3], k[3 * h : 3 * h + 3]
            phi_q, phi_k = torch.outer(q_h, q_h).flatten(), torch.outer(k_h, k_h).flatten() / 3
            S[h] += torch.outer(phi_k, v[4 * h : 4 * h + 4])
            z[h] += phi_k
            heads.append(phi_q @ S[h] / (phi_q @ z[h] + 1e-6))
        outputs.append(mixer.out.weight @ torch.cat(heads))
    torch.testing.assert_close(mixer(x[None])[0], torch.stack(outputs), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("width", "feature_dim", "heads"), [(64, 16, 1), (128, 8, 2)])
def test_the_state_is_the_packed_products_times_values_and_a_normaliser(
    width: int, feature_dim: int, heads: int
) -> None:
    config = ReBased(d_model=width, feature_dim=feature_dim, num_heads=heads, layers="self")
    packed = feature_dim * (feature_dim + 1) // 2
    assert measure_layers(config, 100)[0].bytes == 4 * heads * packed * (width // heads + 1)


def test_a_query_orthogonal_to_all_keys_has_finite_outputs_and_gradients() -> None:
    mixer = make(ReBased(d_model=8, feature_dim=2), torch.float32)
    with torch.no_grad():
        mixer.k_norm.weight.zero_()
        mixer.k_norm.bias.zero_()
    y = mixer(draw(2, 70, 8, dtype=torch.float32))
    y.square().sum().backward()
    assert not y.any()
    assert all(parameter.grad.isfinite().all() for parameter in mixer.parameters())


def test_gradients_reach_every_parameter_and_stay_finite_for_large_inputs() -> None:
    mixer = make(CONFIG, torch.float32)
    mixer(1e3 * draw(2, 70, 8, dtype=torch.float32)).square().sum().backward()
    for name, parameter in mixer.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name
