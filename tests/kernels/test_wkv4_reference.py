import pytest
import torch
from torch import Tensor

from recall_bench.kernels.wkv4 import WKV4State, naive, wkv4


def draw(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def inputs(length: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    log_decay = -torch.linspace(-8, 3, 5, dtype=dtype).exp()
    kv = (draw(2, length, 5, seed=seed, dtype=dtype) for seed in range(2))
    return [*kv, log_decay, draw(5, dtype=dtype)]


@pytest.mark.parametrize("shift", [0.0, -300.0, 300.0])
def test_a_common_shift_of_all_keys_changes_no_output(shift: float) -> None:
    """Exponentials of such keys have no float32; only the state's scale knows the shift."""
    k, v, log_decay, bonus = inputs(90, torch.float32)
    y, state = wkv4(k + shift, v, log_decay, bonus, return_state=True)
    expected, same = naive.wkv4(*(x.double() for x in (k, v, log_decay, bonus)))
    torch.testing.assert_close(y.double(), expected, rtol=0, atol=2e-4)
    torch.testing.assert_close(state.scale.double(), same.scale + shift, rtol=1e-4, atol=1e-4)
    k, v = k[:, :7] + shift, v[:, :7]
    start = WKV4State(*torch.zeros(3, 2, 5))
    torch.testing.assert_close(
        wkv4(k, v, log_decay, bonus, initial_state=start), y[:, :7], rtol=0, atol=2e-4
    )


@pytest.mark.parametrize("log_decay", [0.0, -30.0, -1e4])
def test_the_slowest_and_fastest_decays_give_finite_outputs_and_gradients(log_decay: float) -> None:
    k, v, _, bonus = (x.requires_grad_() for x in inputs(130, torch.float32))
    rates = torch.full((5,), log_decay, requires_grad=True)
    y, state = wkv4(k, v, rates, bonus, return_state=True)
    gradients = torch.autograd.grad(y.sum() + state.numerator.sum(), [k, v, rates, bonus])
    assert all(value.isfinite().all() for value in (y, *state, *gradients))


def test_identical_keys_without_decay_give_the_mean() -> None:
    v = draw(1, 70, 3)
    y = wkv4(torch.ones_like(v), v, torch.zeros(3).double(), torch.zeros(3).double())
    torch.testing.assert_close(y, v.cumsum(1) / torch.arange(1, 71)[:, None])
