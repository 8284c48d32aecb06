import pytest
import torch
from torch import Tensor

from recall_bench.architectures.base import exempt_from_decay
from recall_bench.training import optimizer
from recall_bench.training.optimizer import AdamW

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def weights(device: str) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(300, 70), (5,), (7, 3), (4,)]
    made = [torch.randn(shape, generator=generator).to(device).requires_grad_() for shape in shapes]
    exempt_from_decay(made[1])
    return made


def pull(parameters: list[Tensor]) -> None:
    """Gradients for all but the last parameter."""
    loss = sum((p.sin() * (i + 1)).sum() for i, p in enumerate(parameters[:-1]))
    loss.backward()


@pytest.mark.parametrize("device", DEVICES)
def test_updates_are_those_of_torchs_adamw(device: str, monkeypatch) -> None:
    monkeypatch.setattr(optimizer, "LARGE", 20_000)  # the first parameter
    ours, theirs = weights(device), weights(device)
    mine = AdamW(ours, 1e-2, 0.1)
    groups = [
        {"params": [theirs[0], *theirs[2:]], "weight_decay": 0.1},
        {"params": [theirs[1]], "weight_decay": 0.0},
    ]
    reference = torch.optim.AdamW(groups, lr=1e-2, fused=False, foreach=False)
    for rate in (1e-2, 5e-3, 1e-3):
        mine.set_rate(rate)
        for group in reference.param_groups:
            group["lr"] = rate
        mine.zero_grad()
        reference.zero_grad()
        pull(ours)
        pull(theirs)
        mine.step()
        reference.step()
    for got, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours[-1], weights(device)[-1])


def test_a_continued_optimizer_goes_on_as_before() -> None:
    whole, cut = weights("cpu"), weights("cpu")
    mine, first = AdamW(whole, 1e-2, 0.1), AdamW(cut, 1e-2, 0.1)
    for parameters, adam in ((whole, mine), (cut, first)):
        pull(parameters)
        adam.step()
    second = AdamW(cut, 1e-2, 0.1)
    second.load_state_dict(first.state_dict())
    for parameters, adam in ((whole, mine), (cut, second)):
        adam.zero_grad()
        pull(parameters)
        adam.step()
    for got, expected in zip(cut, whole, strict=True):
        assert torch.equal(got, expected)
