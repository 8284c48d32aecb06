"""The chunked delta rules at the gates, keys and lengths that broke other kernels."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from recall_bench.kernels.delta import delta, naive, reference

Inputs = dict[str, Any]


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "CHUNK", 8)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def inputs(length: int = 21, decay: str = "head") -> Inputs:
    rates = {"none": None, "head": -draw(1, length, 2, seed=4).exp()}
    return {
        "q": draw(1, length, 2, 4),
        "k": F.normalize(draw(1, length, 2, 4, seed=1), dim=-1),
        "v": draw(1, length, 2, 3, seed=2),
        "beta": 2 * draw(1, length, 2, seed=3).sigmoid(),
        "log_decay": rates.get(decay, -draw(1, length, 2, 4, seed=4).exp()),
    }


def state() -> Tensor:
    return draw(1, 2, 4, 3, seed=9)


def assert_follows(given: Inputs, tolerance: float = 1e-10) -> None:
    """Outputs, state and gradients equal those of the recurrence in float64."""
    S = state().requires_grad_()
    tensors = {n: x.requires_grad_() for n, x in given.items() if isinstance(x, Tensor)}
    got = delta(**given, initial_state=S, return_state=True)
    expected = naive.delta(**given, initial_state=S)
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)
    slopes = [draw(*x.shape, seed=7) for x in expected]
    gradients, truth = (
        torch.autograd.grad(results, [S, *tensors.values()], slopes) for results in (got, expected)
    )
    torch.testing.assert_close(gradients, truth, rtol=100 * tolerance, atol=100 * tolerance)


def in_float32(given: Inputs) -> Inputs:
    return {name: x.float() if isinstance(x, Tensor) else x for name, x in given.items()}


DECAYS = pytest.mark.parametrize("decay", ["none", "head", "channel"])


@DECAYS
@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0])
def test_repeated_identical_keys_and_beta_from_0_to_2(decay: str, beta: float) -> None:
    given = inputs(decay=decay)
    same = given["k"][:, :1].expand_as(given["k"]).clone()
    assert_follows(given | {"k": same, "beta": torch.full_like(given["beta"], beta)})


@DECAYS
@pytest.mark.parametrize("log_decay", [0.0, -30.0, -torch.inf])
def test_a_gate_of_exactly_0_a_decay_of_30_a_token_and_forgetting_at_once(
    decay: str, log_decay: float
) -> None:
    given = inputs(decay=decay)
    if given["log_decay"] is not None:
        given["log_decay"] = torch.full_like(given["log_decay"], log_decay)
    assert_follows(given)


@DECAYS
def test_one_strong_decay_blurs_no_weak_one(decay: str) -> None:
    given = inputs(decay=decay)
    if decay != "none":
        given["log_decay"] = given["log_decay"] / 100
        given["log_decay"][:, ::8] = -1e5
    y, S = delta(**in_float32(given), return_state=True)
    expected = naive.delta(**given)
    torch.testing.assert_close((y.double(), S.double()), expected, rtol=1e-5, atol=1e-5)


@DECAYS
def test_large_unnormalised_keys(decay: str) -> None:
    given = inputs(decay=decay)
    large = given | {"k": 1e3 * given["k"], "beta": 1e-6 * given["beta"]}
    assert_follows(large, 1e-8)
    y = delta(**in_float32(large))
    expected, _ = naive.delta(**large)
    error = (y.double() - expected).abs().max() / expected.abs().max()
    assert error < 1e-4


@DECAYS
def test_keys_of_zeros_change_nothing(decay: str) -> None:
    given = inputs(decay="none")
    y, S = delta(
        **given | {"k": torch.zeros_like(given["k"])}, initial_state=state(), return_state=True
    )
    assert torch.equal(S, state())
    torch.testing.assert_close(y, torch.einsum("blhd,bhde->blhe", given["q"], state()))


@DECAYS
@pytest.mark.parametrize("writes", [1, 2, 3])
@pytest.mark.parametrize("remove", ["after", "before"])
@pytest.mark.parametrize("form", ["beta", "a and b"])
def test_every_form_follows_the_recurrence(decay: str, writes: int, remove: str, form: str) -> None:
    given = inputs(19, decay)
    k, v, beta = (
        torch.stack([given[name].roll(i, 1) for i in range(writes)], 2)
        for name in ("k", "v", "beta")
    )
    given |= {"k": k, "v": v, "beta": beta, "remove": remove}
    if form == "a and b":
        given |= {"beta": None, "a": -k.roll(1, -1), "b": k * beta[..., None] / 2}
    assert_follows(given)


def test_autocast_does_not_lower_the_precision_of_the_recurrence() -> None:
    given = {name: x.float() for name, x in inputs(decay="channel").items()}
    expected = delta(**given)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(delta(**given), expected)


def test_bfloat16_inputs_keep_a_float32_state() -> None:
    given = {name: x.bfloat16() for name, x in inputs(decay="channel").items()}
    y, S = delta(**given, return_state=True)
    stepped, T = delta(
        **{name: x[:, :1] for name, x in given.items()}, initial_state=S, return_state=True
    )
    assert y.dtype == stepped.dtype == S.dtype == T.dtype == torch.float32
    assert y.isfinite().all()


@pytest.mark.parametrize("names", [(), ("a",), ("beta", "a", "b"), ("beta", "b")])
def test_beta_and_a_with_b_exclude_each_other(names: tuple[str, ...]) -> None:
    given = inputs()
    everything = {"beta": given["beta"], "a": given["k"], "b": given["k"]}
    given = given | {name: everything[name] if name in names else None for name in everything}
    with pytest.raises(ValueError, match=r"give either beta, or both a and b. Got"):
        delta(**given)


def test_an_unknown_removal_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must be 'after' or 'before'. Got 'never'"):
        delta(**inputs(), remove="never")
