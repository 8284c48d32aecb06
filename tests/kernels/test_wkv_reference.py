import pytest
import torch
from torch import Tensor

from recall_bench.kernels.wkv import naive, reference, wkv


def draw(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def inputs(length: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    r, k = (draw(2, length, 2, 4, seed=seed, dtype=dtype) for seed in range(2))
    log_decay = -torch.linspace(-8, 3, 8, dtype=dtype).exp().view(2, 4)
    return [r, k, draw(2, length, 2, 3, seed=2, dtype=dtype), log_decay, draw(2, 4).to(dtype)]


def run(*tensors: Tensor) -> tuple[Tensor, Tensor]:
    y, S = wkv(*tensors, return_state=True)
    return y, S


@pytest.fixture
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "CHUNK", 8)


@pytest.mark.parametrize("length", [63, 64, 130])
def test_output_and_state_follow_the_recurrence(length: int) -> None:
    given = inputs(length)
    torch.testing.assert_close(run(*given), naive.wkv(*given), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("length", [7, 20])
@pytest.mark.usefixtures("short_chunks")
def test_gradients_equal_those_of_autograd_through_the_recurrence(length: int) -> None:
    given = [value.requires_grad_() for value in inputs(length)]
    slopes = draw(2, length, 2, 3, seed=5), draw(2, 2, 4, 3, seed=6)
    results = torch.autograd.grad(run(*given), given, slopes)
    expected = torch.autograd.grad(naive.wkv(*given), given, slopes, materialize_grads=True)
    torch.testing.assert_close(results, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("log_decay", [-1e-9, -20.0, -1e4])
def test_the_slowest_and_fastest_decays_give_finite_outputs_and_gradients(log_decay: float) -> None:
    r, k, v = (draw(1, 130, 1, 4, dtype=torch.float32, seed=s).requires_grad_() for s in range(3))
    rates = torch.full((1, 4), log_decay, requires_grad=True)
    bonus = draw(1, 4, dtype=torch.float32, seed=3).requires_grad_()
    y, S = run(r, k, v, rates, bonus)
    gradients = torch.autograd.grad(y.sum() + S.sum(), [r, k, v, rates, bonus])
    assert all(value.isfinite().all() for value in (y, S, *gradients))


def test_a_channel_that_forgets_at_once_recalls_one_token_back() -> None:
    r, k, v = (draw(1, 9, 1, 3, seed=s) for s in range(3))
    y = wkv(r, k, v, torch.full((1, 3), -1e4).double(), torch.zeros(1, 3).double())
    expected = (r[:, 1:] * k[:, :-1]).sum(-1, keepdim=True) * v[:, :-1]
    torch.testing.assert_close(y[:, 1:], expected)
    assert not y[:, 0].any()


def test_autocast_does_not_lower_the_precision_of_the_recurrence() -> None:
    given = inputs(70, torch.float32)
    expected = wkv(*given)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(wkv(*given), expected)


def test_bfloat16_inputs_give_float32_outputs() -> None:
    r, k, v, log_decay, bonus = inputs(5, torch.float32)
    y, S = run(r.bfloat16(), k.bfloat16(), v.bfloat16(), log_decay, bonus.bfloat16())
    assert y.dtype == S.dtype == torch.float32
