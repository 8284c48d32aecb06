import pytest
import torch
from comparing import assert_close, on_gpu, random

pytest.importorskip("triton")

from recall_bench.kernels.plumbing.triton_sums import column_sum, sum_parts


def compare_parts(groups, count, *shape, dtype=torch.float32):
    parts = random(groups, count, *shape, seed=0, dtype=dtype)
    total = torch.full((groups, *shape), torch.nan, device=parts.device, dtype=dtype)
    sum_parts(parts, total)
    assert_close(
        "sum of parts", total, parts.double().sum(1), 1e-2 if dtype != torch.float32 else 1e-6
    )


@pytest.mark.parametrize("count", [1, 2, 16, 17, 40])
def test_parts_are_summed_however_many_there_are(count):
    compare_parts(2, count, 3, 500)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (300, 17), (2049, 3)])
def test_columns_are_summed_however_many_rows_there_are(rows, columns):
    x = random(rows, columns, seed=0)
    assert_close("sum of columns", column_sum(x), x.double().sum(0), 1e-6)
    wide = random(rows, 2 * columns, seed=0)
    assert_close("of a slice", column_sum(wide[:, columns:]), wide.double().sum(0)[columns:], 1e-6)


@on_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("count", [1, 16, 40])
def test_on_a_gpu_large_parts_are_summed(count, dtype):
    compare_parts(2, count, 256, 257, 16, dtype=dtype)


@on_gpu
@pytest.mark.parametrize(("rows", "columns"), [(264, 256), (1056, 512), (70_001, 130)])
def test_on_a_gpu_columns_are_summed(rows, columns):
    x = random(rows, columns, seed=0)
    assert_close("sum of columns", column_sum(x), x.double().sum(0), 1e-5)
