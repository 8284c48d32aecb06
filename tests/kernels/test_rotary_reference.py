import math

import torch

from recall_bench.kernels.rotary import rotary


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_rotated_products_depend_on_the_distance_alone():
    q, k = draw(1, 1, 1, 8).expand(-1, 12, -1, -1), draw(1, 1, 1, 8, seed=2).expand(-1, 12, -1, -1)
    t = torch.arange(12)
    s = torch.einsum("blhd,bmhd->lm", rotary(q, t), rotary(k, t))
    for distance in range(-5, 6):
        diagonal = s.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal))
    torch.testing.assert_close(s.diagonal(), (q * k).sum(-1).flatten())


def test_rotation_turns_pairs_half_a_head_apart_by_their_frequency():
    x = torch.zeros(1, 1, 4, dtype=torch.float64)
    x[..., 1] = 1
    angle = 3 * 10_000**-0.5
    expected = torch.tensor([[[0, math.cos(angle), 0, math.sin(angle)]]], dtype=torch.float64)
    torch.testing.assert_close(rotary(x, torch.tensor([3])), expected)


def test_positions_of_each_row_turn_it_as_positions_of_all_do():
    x, t = draw(2, 5, 3, 6), torch.tensor([[4, 0, 2, 2, 9], [1, 7, 3, 0, 8]])
    y = rotary(x, t)
    for b in range(2):
        torch.testing.assert_close(y[b], rotary(x[b : b + 1], t[b])[0])
        torch.testing.assert_close(y[:, b], rotary(x[:, b], t[:, b]))


def test_narrow_numbers_are_turned_in_float32_and_come_back_narrow():
    x, t = draw(2, 5, 3, 6).bfloat16(), torch.arange(5) + 1000
    y = rotary(x, t)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y, rotary(x.float(), t).bfloat16())
