import itertools
import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from recurrence import assert_forms_agree, draw, make, rms_norm
from torch import Tensor
from torch.nn import functional as F

from recall_bench.architectures.linear_attention.linear_attention import LinearAttention
from recall_bench.architectures.pieces.feature_maps import Performer
from recall_bench.model.state_size import measure_layers

KNOBS = [
    {"feature_map": "elu"},
    {"feature_map": "identity", "normaliser": "rms"},
    {"feature_map": "polynomial"},
    {"feature_map": "polynomial", "degree": 3, "normaliser": "rms"},
    {"feature_map": "cosformer", "horizon": 100},
    {"feature_map": "performer"},
    {"feature_map": "hedgehog"},
]
each = pytest.mark.parametrize("knobs", KNOBS, ids=str)


def config(knobs: dict[str, Any]) -> LinearAttention:
    return LinearAttention(**{"d_model": 8, "num_heads": 2, "feature_dim": 3} | knobs)


def score(mixer: Any, knobs: dict[str, Any], q: Tensor, k: Tensor, h: int, distance: int) -> Any:
    """What the map's paper gives a query and a key, each (3,), of head ``h``."""
    s = q @ k / 3**0.5
    if knobs["feature_map"] == "elu":
        return (F.elu(q) + 1) @ (F.elu(k) + 1)
    if knobs["feature_map"] == "identity":
        return s
    if knobs["feature_map"] == "polynomial":
        return (1 + s) ** knobs.get("degree", 2)
    if knobs["feature_map"] == "cosformer":
        return F.relu(q) @ F.relu(k) * math.cos(math.pi / 2 * distance / 100)
    if knobs["feature_map"] == "performer":
        q, k = q / 3**0.25, k / 3**0.25
        both = [torch.exp(w @ (q + k) - (q @ q + k @ k) / 2) for w in mixer.phi.directions.mT]
        return sum(both)
    W_q, W_k = mixer.phi.weight[:, h]
    q, k = W_q @ q, W_k @ k
    return torch.cat([q, -q]).softmax(0) @ torch.cat([k, -k]).softmax(0)


@each
@pytest.mark.parametrize("length", [0, 1, 17, 65])
def test_forward_prefill_and_steps_agree(knobs: dict[str, Any], length: int) -> None:
    assert_forms_agree(make(config(knobs)), 8, length)


@each
@torch.no_grad()
def test_output_weighs_the_values_by_the_scores_of_the_paper(knobs: dict[str, Any]) -> None:
    mixer, x = make(config(knobs)), 2 * draw(12, 8)
    if knobs["feature_map"] == "hedgehog":
        mixer.phi.weight.copy_(draw(2, 2, 3, 3))
    q, k, v = ((x @ W.mT) for W in mixer.qkv.weight.split([6, 6, 8]))
    q, k, v = q.unflatten(1, (2, 3)), k.unflatten(1, (2, 3)), v.unflatten(1, (2, 4))
    outputs = []
    for i in range(12):
        heads = []
        for h in range(2):
            scores = [score(mixer, knobs, q[i, h], k[j, h], h, i - j) for j in range(i + 1)]
            y = sum(a * v[j, h] for j, a in enumerate(scores))
            if knobs.get("normaliser") == "rms":
                heads.append(rms_norm(y) * mixer.norm.weight)
            else:
                small = 1e-6 * (math.e**3 if knobs["feature_map"] == "performer" else 1)
                heads.append(y / (sum(scores) + small))
        outputs.append(mixer.out.weight @ torch.cat(heads))
    torch.testing.assert_close(mixer(x[None])[0], torch.stack(outputs), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("knobs", "features"),
    [
        ({"feature_map": "elu"}, 3),
        ({"feature_map": "polynomial", "degree": 2}, 10),
        ({"feature_map": "polynomial", "degree": 4}, 35),
        ({"feature_map": "performer"}, 3),
        ({"feature_map": "hedgehog"}, 6),
    ],
)
def test_the_state_is_the_features_times_values_and_a_normaliser(
    knobs: dict[str, Any], features: int
) -> None:
    made = config(knobs | {"layers": "self"})
    assert measure_layers(made, 100)[0].bytes == 4 * 2 * features * (4 + 1)


def test_a_map_that_depends_on_positions_counts_tokens_and_a_norm_needs_no_normaliser() -> None:
    made = config({"feature_map": "cosformer", "layers": "self"})
    assert measure_layers(made, 100)[0].bytes == 4 * 2 * 6 * 5 + 8
    made = config({"normaliser": "rms", "layers": "self"})
    assert measure_layers(made, 100)[0].bytes == 4 * 2 * 3 * 4


def test_random_features_are_orthogonal_of_one_length_and_below_one_however_large_the_input() -> (
    None
):
    torch.manual_seed(0)
    performer, x = Performer(16).double(), 100 * draw(2, 5, 1, 16)
    W = performer.directions
    torch.testing.assert_close(W @ W.mT, 16 * torch.eye(16).double(), rtol=0, atol=1e-5)
    for features in performer(x, x):
        assert 0 <= features.min() <= features.max() <= 1


def test_parameters_of_every_map_have_gradients_that_stay_finite_for_large_inputs() -> None:
    for knobs, scale in itertools.product(KNOBS, (1.0, 1e3)):
        mixer = make(config(knobs), torch.float32)
        mixer(scale * draw(2, 70, 8, dtype=torch.float32)).square().sum().backward()
        for name, parameter in mixer.named_parameters():
            assert parameter.grad.isfinite().all(), (knobs, name)
            assert parameter.grad.abs().sum() > 0 or scale > 1, (knobs, name)


def test_scores_of_either_sign_are_not_divided_by_their_sum() -> None:
    for knobs in ({"feature_map": "identity"}, {"feature_map": "polynomial", "degree": 3}):
        with pytest.raises(ValidationError, match="normaliser must be rms, since the scores"):
            config(knobs)


def test_a_polynomial_of_too_many_features_is_refused() -> None:
    with pytest.raises(ValidationError, match="make 814385 features"):
        config({"feature_map": "polynomial", "degree": 4, "feature_dim": 64})
