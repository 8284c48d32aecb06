import pytest
import torch
from torch.nn import functional as F

from recall_bench.kernels.labelled_cross_entropy import labelled_cross_entropy, labelled_losses


def inputs(N=20, V=7, D=5, dtype=torch.float64):
    g = torch.Generator().manual_seed(0)
    hidden = torch.randn(N, D, generator=g, dtype=torch.float64).to(dtype)
    weight = torch.randn(V, D, generator=g, dtype=torch.float64).to(dtype)
    targets = torch.randint(V, (N,), generator=g)
    targets[::4] = -100
    return hidden.requires_grad_(), weight.requires_grad_(), targets


def test_the_loss_and_its_gradients_are_those_of_cross_entropy_over_the_logits():
    hidden, weight, targets = inputs()
    loss = labelled_cross_entropy(hidden, weight, targets)
    expected = F.cross_entropy(hidden @ weight.t(), targets)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(
        torch.autograd.grad(loss, (hidden, weight)), torch.autograd.grad(expected, (hidden, weight))
    )


def test_row_losses_average_to_the_loss_and_are_zero_where_nothing_is_asked():
    hidden, weight, targets = inputs()
    losses, correct = labelled_losses(hidden, weight, targets)
    loss = labelled_cross_entropy(hidden, weight, targets)
    asked = targets != -100
    torch.testing.assert_close(losses.sum() / asked.sum(), loss)
    assert torch.equal(losses == 0, ~asked)
    assert torch.equal(correct, (hidden @ weight.t()).argmax(1) == targets)
    assert not losses.requires_grad


def test_the_first_of_several_largest_logits_counts():
    hidden, weight = torch.ones(4, 1), torch.tensor([[1.0], [2.0], [2.0], [0.0]])
    _, correct = labelled_losses(hidden, weight, torch.tensor([0, 1, 2, -100]))
    assert correct.tolist() == [False, True, False, False]


@pytest.mark.parametrize("N", [0, 3])
def test_nothing_asked_costs_nothing(N):
    hidden, weight, targets = inputs(N)
    targets.fill_(-100)
    loss = labelled_cross_entropy(hidden, weight, targets)
    assert loss == 0
    assert not torch.cat(labelled_losses(hidden, weight, targets)).any()
    for gradient in torch.autograd.grad(loss, (hidden, weight)):
        assert not gradient.any()


def test_bfloat16_logits_are_summed_in_float32():
    hidden, weight, targets = inputs(dtype=torch.bfloat16)
    loss = labelled_cross_entropy(hidden, weight, targets)
    assert loss.dtype == torch.float32
    exact = F.cross_entropy(hidden.double() @ weight.double().t(), targets)
    torch.testing.assert_close(loss.double(), exact, rtol=1e-2, atol=0)
