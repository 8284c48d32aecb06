"""The zeta function that tasks use without torch is torch's, to the last bit."""

import random

import torch

from recall_bench.tasks.tools.zeta import zeta


def test_zeta_is_that_of_torch_to_the_last_bit():
    draw = random.Random(0)
    exponents = [1.01, 1.5, 2.0, 3.0, 10.0, *(1 + 9 * (1 - draw.random()) for _ in range(500))]
    expected = torch.special.zeta(torch.tensor(exponents, dtype=torch.float64), 1.0).tolist()
    assert [zeta(exponent) for exponent in exponents] == expected
