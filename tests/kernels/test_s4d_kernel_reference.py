import math

import torch
from comparing import assert_close, random

from recall_bench.kernels.s4d_kernel import reference


def test_the_kernel_is_the_response_of_the_recurrence_to_an_impulse():
    steps, rates, frequencies = (random(2, n, seed=n).double() for n in (1, 3, 4))
    frequencies = frequencies[:, :3]
    B, C, D = (random(2, *n, seed=5 + len(n)).double() for n in ((3, 2), (3, 2), ()))
    kernel = reference.s4d_kernel(steps, rates, frequencies, B, C, D, 6)
    A, b, c = -rates.exp() + 1j * frequencies, torch.view_as_complex(B), torch.view_as_complex(C)
    dt, h, expected = steps.exp(), torch.zeros(2, 3, dtype=A.dtype, device=A.device), []
    for t in range(6):
        u = float(t == 0)
        h = ((1 + dt * A / 2) * h + dt * b * u) / (1 - dt * A / 2)
        expected.append(2 * (c * h).sum(1).real + D * u)
    assert_close("kernel", kernel, torch.stack(expected, 1), 1e-12)


def test_powers_begin_with_one_and_end_below_the_length():
    base = torch.polar(torch.tensor([0.9, 0.5]), torch.tensor([math.pi / 3, 3.0]))
    expected = torch.stack([base**t for t in range(5)], 1)
    assert_close("real part", reference.powers(base, 5).real, expected.real, 1e-5)
    assert_close("imaginary part", reference.powers(base, 5).imag, expected.imag, 1e-5)
