import pytest
import torch

from recall_bench.kernels.embedding import embedding, token_order
from recall_bench.kernels.embedding.order import PIECE


def test_a_lookup_takes_the_rows_of_its_tokens():
    weight = torch.arange(12.0).reshape(4, 3)
    assert embedding(torch.tensor([[3, 0]]), weight).tolist() == [[[9, 10, 11], [0, 1, 2]]]


def test_dropout_keeps_the_mean_and_follows_its_seed():
    tokens, weight = torch.zeros(5000, dtype=torch.int64), torch.ones(1, 3)
    first, same, other = (
        embedding(tokens, weight, dropout=0.25, seed=torch.tensor(seed)) for seed in (1, 1, 2)
    )
    assert sorted(first.unique().tolist()) == pytest.approx([0, 4 / 3])
    assert first.mean().item() == pytest.approx(1, abs=0.03)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def dropped(seed: int) -> torch.Tensor:
    weight = torch.ones(1, 64)
    tokens = torch.zeros(1 << 14, dtype=torch.int64)
    return (embedding(tokens, weight, dropout=0.3, seed=torch.tensor(seed)) == 0).double().flatten()


@pytest.mark.parametrize("seed", [0, 1, 2**32, 2**33 + 1])
def test_elements_are_dropped_independently_of_their_neighbours(seed):
    here = dropped(seed)
    assert here.mean().item() == pytest.approx(0.3, abs=0.003)
    for distance in (1, 2, 3, 4, 8, 64):
        together = (here[distance:] * here[:-distance]).mean().item()
        assert together == pytest.approx(0.09, abs=0.002)


def test_seeds_that_follow_each_other_drop_independently():
    first, second = dropped(7), dropped(8)
    for distance in (0, 1, 4):
        together = (first[distance:] * second[: len(second) - distance]).mean().item()
        assert together == pytest.approx(0.09, abs=0.002)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("shape", [(0,), (3, 5), (3, PIECE)])
def test_an_order_lists_each_tokens_positions_in_turn(shape, dtype):
    g = torch.Generator().manual_seed(0)
    tokens = torch.randint(4, shape, generator=g).to(dtype)  # of 6: the last two never occur
    order = token_order(tokens, 6)
    for token in range(6):
        positions = order.positions[order.starts[token] : order.starts[token + 1]]
        assert positions.tolist() == (tokens.flatten() == token).nonzero().flatten().tolist()


@pytest.mark.parametrize("count", [0, 1, PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 1])
def test_further_pieces_belong_to_the_tokens_that_fill_more_than_one(count):
    tokens = torch.tensor([1] * PIECE + [2] * count + [5] * (PIECE + 1))
    order = token_order(tokens, 6)
    further = [2] * max(0, (count - 1) // PIECE) + [5]
    assert order.piece_tokens.tolist()[: len(further)] == further
    assert order.piece_tokens.tolist()[len(further) :] == [6] * (
        len(tokens) // PIECE - len(further)
    )
    assert order.piece_starts.diff().tolist() == [further.count(token) for token in range(6)]
