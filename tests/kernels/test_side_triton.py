"""Gradients on a second stream, here a stand-in that does all its work at the end.

A read that could come too early in some order of the two streams then always comes too early.
"""

import pytest
import torch
from comparing import DEVICE, assert_close, random
from small_runs import small_run

pytest.importorskip("triton")

from recall_bench.kernels.linear.module import Linear
from recall_bench.kernels.linear.triton import linear as kernel
from recall_bench.kernels.plumbing import dispatch
from recall_bench.kernels.plumbing.side import Side, beside
from recall_bench.model.backbone import build_model
from recall_bench.training.batches import load_split
from recall_bench.training.graphs import PackedBatches
from recall_bench.training.scoring import query_loss


class Last(Side):
    """Does its work after the backward pass, and checks that its inputs have not changed."""

    def __init__(self):
        self._read, self._gradients, self.put_off = [], [], []

    def run(self, owners, work, read):
        self.put_off.append((owners, work, read, copied(read)))

    def join(self):
        for owners, work, read, before in self.put_off:
            assert all(map(torch.equal, tensors(read), before)), "written to while it is read"
            self._keep(owners, work(*read))
        super().join()


def tensors(read):
    for x in read:
        yield from tensors(x) if isinstance(x, list) else [x]


def copied(read):
    return [x.clone() for x in tensors(read)]


def gradients(parameters, loss, side=None):
    """The gradients of ``loss()`` by parameter."""
    for parameter in parameters:
        parameter.grad = None
    with beside(side):
        loss().backward()
    return [None if p.grad is None else p.grad.clone() for p in parameters]


def compare(parameters, loss, put_off):
    """Compare with and without a second stream, which takes over ``put_off`` pieces of work."""
    side = Last()
    results = gradients(parameters, loss, side)
    for ours, theirs in zip(results, gradients(parameters, loss), strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert ours.stride() == theirs.stride()
            assert_close("gradient", ours, theirs, 1e-6)
    assert len(side.put_off) == put_off


@pytest.fixture(autouse=True)
def triton_kernels(monkeypatch):
    monkeypatch.setenv(dispatch.VARIABLE, "triton")


@pytest.mark.parametrize(
    ("architecture", "put_off"),
    [
        ("based", 10),
        ("attention", 7),
        ("sliding-window", 7),
        ("mamba", 12),
        ("h3", 12),
        ("rwkv", 10),
    ],
)
def test_a_model_gets_the_same_gradients_with_a_second_stream(architecture, put_off):
    config = small_run(architecture)
    place = torch.device(DEVICE)
    data, _ = load_split(config.task, "train", 0, place)
    model = build_model(config).to(place)
    batch = PackedBatches(data[0], 2, config.task.tokens).batch(torch.tensor([0], device=place))
    compare(list(model.parameters()), lambda: query_loss(model, batch), put_off)


def layer():
    torch.manual_seed(0)
    return Linear(5, 5).to(DEVICE), random(7, 5, seed=1).requires_grad_()


def test_a_weight_that_is_used_twice_or_outside_too_gets_all_its_gradients():
    linear, x = layer()
    compare([*linear.parameters(), x], lambda: linear(linear(x)).pow(2).sum(), 2)
    outside = lambda: (linear(x) @ linear.weight).pow(2).sum()  # noqa: E731
    compare([*linear.parameters(), x], outside, 1)


def test_autograd_computes_gradients_of_other_tensors_than_parameters():
    linear, x = layer()
    weight, bias = linear.weight, linear.bias
    compare([weight, bias, x], lambda: kernel(x, 2 * weight, bias).pow(2).sum(), 0)


def test_a_frozen_weight_stays_without_a_gradient():
    linear, x = layer()
    linear.weight.requires_grad_(False)
    compare([*linear.parameters(), x], lambda: linear(x).pow(2).sum(), 0)
    assert linear.weight.grad is None


def test_a_gradient_is_added_to_an_earlier_one():
    linear, x = layer()
    linear(x).sum().backward()
    once = linear.weight.grad.clone()
    with beside(Last()):
        linear(x).sum().backward()
    assert_close("gradient", linear.weight.grad, 2 * once, 1e-6)
