import pytest
import torch
from comparing import assert_close, random

from recall_bench.kernels.long_conv import reference


@pytest.mark.parametrize("length", [1, 2, 17])
@pytest.mark.parametrize("taps", [1, 5, 30])
def test_every_output_is_the_sum_over_the_inputs_before_it(length, taps):
    x, kernel = random(2, 3, 2, length, seed=0).double(), random(3, taps, seed=1).double()
    expected = torch.zeros_like(x)
    for t in range(length):
        for i in range(min(t + 1, taps)):
            expected[..., t] += kernel[:, i, None] * x[..., t - i]
    assert_close("output", reference.long_conv(x, kernel), expected, 1e-12)
