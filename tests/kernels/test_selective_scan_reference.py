import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from recall_bench.kernels.selective_scan import naive, reference, selective_scan


def run(u: Tensor, **others) -> tuple[Tensor, Tensor]:
    """y and the last state of the recurrence, with softplus."""
    y, state = selective_scan(u, **others, delta_softplus=True, return_state=True)
    return y, state


def oracle(**given) -> tuple[Tensor, Tensor]:
    return naive.selective_scan(**given, delta_softplus=True)


def inputs(length: int, batch: int = 2, channels: int = 5, n: int = 3, seed: int = 0) -> dict:
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw, dtype=torch.float64)

    return {
        "u": normal(batch, length, channels),
        "delta": normal(batch, length, channels),
        "A": -normal(channels, n).exp(),
        "B": normal(batch, length, n),
        "C": normal(batch, length, n),
        "D": normal(channels),
        "z": normal(batch, length, channels),
        "delta_bias": normal(channels),
        "initial_state": normal(batch, channels, n),
    }


@pytest.fixture
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four tokens a chunk for the sizes of `inputs`."""
    monkeypatch.setattr(reference, "CHUNK_ELEMENTS", 4 * 2 * 5 * 3)


@pytest.mark.parametrize("length", [3, 4, 63])
@pytest.mark.usefixtures("short_chunks")
def test_output_and_state_follow_the_recurrence(length: int) -> None:
    given = inputs(length)
    expected, expected_state = oracle(**given)
    y, state = run(**given)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(state, expected_state, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("length", [4, 9])
@pytest.mark.usefixtures("short_chunks")
def test_gradients_equal_those_of_autograd_through_the_recurrence(length: int) -> None:
    given = {name: value.requires_grad_() for name, value in inputs(length, seed=1).items()}
    draw = torch.Generator().manual_seed(2)
    weights = [torch.randn(v.shape, generator=draw, dtype=v.dtype) for v in oracle(**given)]

    def gradients(results: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        loss = sum((w * r).sum() for w, r in zip(weights, results, strict=True))
        return torch.autograd.grad(loss, list(given.values()))

    got = gradients(run(**given))
    for name, a, b in zip(given, got, gradients(oracle(**given)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11, msg=lambda m, n=name: f"{n}: {m}")


def test_one_chunk_and_many_chunks_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    given = inputs(63)
    whole = run(**given)
    monkeypatch.setattr(reference, "CHUNK_ELEMENTS", 1)
    torch.testing.assert_close(run(**given), whole, rtol=1e-13, atol=1e-13)


def test_skip_gate_bias_and_state_are_optional() -> None:
    given = inputs(5)
    given["delta"] = given["delta"].exp()
    bare = [given[name] for name in ("u", "delta", "A", "B", "C")]
    no_skip = {"D": torch.zeros(5), "delta_bias": torch.zeros(5)}
    ungated = selective_scan(*bare)
    torch.testing.assert_close(selective_scan(*bare, **no_skip), ungated)
    gate = given["z"]
    torch.testing.assert_close(selective_scan(*bare, z=gate), ungated * F.silu(gate))


@pytest.mark.parametrize("size", [1e-30, 1e4])
def test_extreme_step_sizes_give_finite_outputs_and_gradients(size: float) -> None:
    given = {name: value.float() for name, value in inputs(64).items()}
    given["delta"] = torch.full_like(given["delta"], size)
    del given["delta_bias"]
    given = {name: value.requires_grad_() for name, value in given.items()}
    y, state = selective_scan(given.pop("u"), **given, return_state=True)
    for gradient in torch.autograd.grad(y.sum() + state.sum(), list(given.values())):
        assert gradient.isfinite().all()
    assert y.isfinite().all()


def test_half_precision_inputs_keep_a_float32_state() -> None:
    given = inputs(9)
    exact, exact_state = oracle(**given)
    half = {name: value.bfloat16() for name, value in given.items()}
    y, state = run(**half)
    assert y.dtype == torch.bfloat16
    assert state.dtype == torch.float32
    torch.testing.assert_close(y.double(), exact, rtol=0.05, atol=0.05)
    torch.testing.assert_close(state.double(), exact_state, rtol=0.05, atol=0.05)


def test_autocast_does_not_lower_the_precision_of_the_scan() -> None:
    given = {name: value.float() for name, value in inputs(9).items()}
    expected, _ = run(**given)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(run(**given)[0], expected)
