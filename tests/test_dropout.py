import pytest
import torch

from recall_bench.dropout import Dropout, cheap_mask


@pytest.mark.parametrize("p", [0.1, 0.5, 0.999])
def test_the_share_of_what_is_dropped_is_p_and_the_mean_stays(p: float) -> None:
    torch.manual_seed(0)
    mask = cheap_mask(torch.empty(999, 1001), p)
    assert (mask == 0).float().mean().item() == pytest.approx(p, abs=0.002)
    assert mask.mean().item() == pytest.approx(1, abs=0.1 if p > 0.9 else 0.005)
    assert mask.unique().numel() == 2


def test_neighbours_are_dropped_independently() -> None:
    torch.manual_seed(0)
    dropped = (cheap_mask(torch.empty(1 << 20), 0.3) == 0).float()
    for distance in (1, 2, 3, 4, 8, 64):
        together = (dropped[distance:] * dropped[:-distance]).mean().item()
        assert together == pytest.approx(0.09, abs=0.002)


def test_gradients_pass_where_numbers_do_and_evaluation_keeps_all() -> None:
    torch.manual_seed(0)
    x = torch.randn(7, 5, requires_grad=True)
    module = Dropout(0.4)
    y = module(x)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad * x, y)
    assert (y == 0).any()
    assert module.eval()(x) is x


def test_equal_seeds_give_equal_masks() -> None:
    def draw() -> torch.Tensor:
        torch.manual_seed(3)
        return cheap_mask(torch.empty(13, 3), 0.2)

    assert torch.equal(draw(), draw())
