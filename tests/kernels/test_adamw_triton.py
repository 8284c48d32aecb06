import pytest
import torch
from comparing import DEVICE, assert_close, on_gpu, random

pytest.importorskip("triton")

from recall_bench.kernels.adamw import reference, triton

NAMES = ("weight", "first", "second")


def compare(shape, decay=0.1, steps=3):
    """Both backends take the same steps from the same start; the reference computes in float64."""
    start = [random(*shape, seed=0), torch.zeros(shape), torch.zeros(shape)]
    kept = []
    for module, dtype in ((triton, torch.float32), (reference, torch.float64)):
        tensors = [x.to(DEVICE, dtype, copy=True) for x in start]
        for step in range(1, steps + 1):
            gradient = random(*shape, seed=step).to(dtype) * 10.0**-step
            scalars = (torch.tensor(x, device=DEVICE) for x in (float(step), 1e-2))
            weight, *means = ([x] for x in tensors)
            module.adamw(weight, [gradient], *means, *scalars, decay, (0.9, 0.999), 1e-8)
        kept.append(tensors)
    for name, got, expected in zip(NAMES, *kept, strict=True):
        assert_close(name, got, expected, 1e-6)


@pytest.mark.parametrize("shape", [(1,), (3, 70), (2049,)])
def test_updates_match_the_reference(shape):
    compare(shape)


def test_without_decay_they_match_too():
    compare((40,), decay=0.0)


@on_gpu
@pytest.mark.parametrize("shape", [(8192, 128), (70_001,)])
def test_on_a_gpu_large_tensors_match_the_reference(shape):
    compare(shape, steps=20)
