import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from recall_bench.kernels.selective_scan import reference, selective_scan, selective_scan_step


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


def oracle(u, delta, A, B, C, D, z, delta_bias, initial_state) -> tuple[Tensor, Tensor]:
    """The recurrence as written in the paper, by plain autograd, with softplus."""
    state, outputs = initial_state, []
    delta = F.softplus(delta + delta_bias)
    for t in range(u.shape[1]):
        decay = torch.exp(delta[:, t, :, None] * A)
        state = decay * state + (delta[:, t] * u[:, t])[..., None] * B[:, t, None]
        y = (state * C[:, t, None]).sum(-1) + D * u[:, t]
        outputs.append(y * F.silu(z[:, t]))
    return (torch.stack(outputs, 1) if outputs else u), state


@pytest.fixture
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four tokens a chunk for the sizes of `inputs`."""
    monkeypatch.setattr(reference, "CHUNK_ELEMENTS", 4 * 2 * 5 * 3)


@pytest.mark.parametrize("length", [0, 1, 2, 17, 63])
@pytest.mark.usefixtures("short_chunks")
def test_output_and_state_follow_the_recurrence(length: int) -> None:
    given = inputs(length)
    expected, expected_state = oracle(**given)
    y, state = selective_scan(**given, delta_softplus=True, return_state=True)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(state, expected_state, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("length", [1, 4, 9])
@pytest.mark.usefixtures("short_chunks")
def test_gradients_equal_those_of_autograd_through_the_recurrence(length: int) -> None:
    given = {name: value.requires_grad_() for name, value in inputs(length, seed=1).items()}
    draw = torch.Generator().manual_seed(2)
    weights = [torch.randn(v.shape, generator=draw, dtype=v.dtype) for v in oracle(**given)]

    def gradients(results: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        loss = sum((w * r).sum() for w, r in zip(weights, results, strict=True))
        return torch.autograd.grad(loss, list(given.values()))

    found = gradients(selective_scan(**given, delta_softplus=True, return_state=True))
    for name, a, b in zip(given, found, gradients(oracle(**given)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11, msg=lambda m, n=name: f"{n}: {m}")


def test_one_chunk_and_many_chunks_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    given = inputs(63)
    whole = selective_scan(**given)
    monkeypatch.setattr(reference, "CHUNK_ELEMENTS", 1)
    torch.testing.assert_close(selective_scan(**given), whole, rtol=1e-13, atol=1e-13)


def test_going_on_from_a_state_equals_one_long_scan() -> None:
    given = inputs(17)
    per_token = ("u", "delta", "B", "C", "z")
    first = {name: v[:, :6] if name in per_token else v for name, v in given.items()}
    rest = {name: v[:, 6:] if name in per_token else v for name, v in given.items()}
    y, state = selective_scan(**given, return_state=True)
    y_first, middle = selective_scan(**first, return_state=True)
    y_rest, end = selective_scan(**{**rest, "initial_state": middle}, return_state=True)
    torch.testing.assert_close(torch.cat([y_first, y_rest], 1), y)
    torch.testing.assert_close(end, state)


def test_steps_equal_the_scan_and_leave_the_given_state_alone() -> None:
    given = inputs(7)
    expected, expected_state = selective_scan(**given, delta_softplus=True, return_state=True)
    state, shared = given.pop("initial_state"), {k: given.pop(k) for k in ("A", "D", "delta_bias")}
    for t in range(7):
        before = state.clone()
        now = {name: value[:, t] for name, value in given.items()}
        y, new = selective_scan_step(**now, **shared, delta_softplus=True, state=state)
        torch.testing.assert_close(y, expected[:, t], rtol=1e-12, atol=1e-12)
        assert torch.equal(state, before)
        state = new
    torch.testing.assert_close(state, expected_state, rtol=1e-12, atol=1e-12)


def test_skip_gate_bias_and_state_are_optional() -> None:
    given = inputs(5)
    given["delta"] = given["delta"].exp()
    bare = {name: given[name] for name in ("u", "delta", "A", "B", "C")}
    no_skip = {"D": torch.zeros(5), "delta_bias": torch.zeros(5)}
    ungated = selective_scan(**bare)
    torch.testing.assert_close(selective_scan(**bare, **no_skip), ungated)
    gate = given["z"]
    torch.testing.assert_close(selective_scan(**bare, z=gate), ungated * F.silu(gate))


@pytest.mark.parametrize("size", [1e-30, 1e4])
def test_extreme_step_sizes_give_finite_outputs_and_gradients(size: float) -> None:
    given = {name: value.float() for name, value in inputs(64).items()}
    given["delta"] = torch.full_like(given["delta"], size)
    del given["delta_bias"]
    given = {name: value.requires_grad_() for name, value in given.items()}
    y, state = selective_scan(**given, return_state=True)
    for gradient in torch.autograd.grad(y.sum() + state.sum(), list(given.values())):
        assert gradient.isfinite().all()
    assert y.isfinite().all()


def test_half_precision_inputs_keep_a_float32_state() -> None:
    given = inputs(9)
    exact, exact_state = oracle(**given)
    half = {name: value.bfloat16() for name, value in given.items()}
    y, state = selective_scan(**half, delta_softplus=True, return_state=True)
    assert y.dtype == torch.bfloat16
    assert state.dtype == torch.float32
    torch.testing.assert_close(y.double(), exact, rtol=0.05, atol=0.05)
    torch.testing.assert_close(state.double(), exact_state, rtol=0.05, atol=0.05)


def test_autocast_does_not_lower_the_precision_of_the_scan() -> None:
    given = {name: value.float() for name, value in inputs(9).items()}
    expected = selective_scan(**given)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(selective_scan(**given), expected)


def test_shapes_propagate_on_the_meta_device() -> None:
    given = {name: value.to("meta") for name, value in inputs(9).items()}
    y, state = selective_scan(**given, delta_softplus=True, return_state=True)
    assert y.shape == (2, 9, 5)
    assert state.shape == (2, 5, 3)
