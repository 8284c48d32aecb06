"""Without a GPU, Triton kernels run in Triton's interpreter; every kernel test must compare."""

import contextlib
from collections.abc import Callable, Iterator

import comparing
import pytest
import torch
from memory_bounds import checked_memory
from quick_interpreter import patched_once


@pytest.fixture
def matmul_precision() -> Iterator[Callable[[str], None]]:
    """`torch.set_float32_matmul_precision`, undone after the test."""
    before = torch.get_float32_matmul_precision()
    yield torch.set_float32_matmul_precision
    torch.set_float32_matmul_precision(before)


@pytest.fixture
def tf32(matmul_precision: Callable[[str], None]) -> None:
    """Single TF32 products for float32 inputs."""
    matmul_precision("high")


@pytest.fixture(autouse=True)
def _kernels_stay_within_their_tensors() -> Iterator[None]:
    with contextlib.ExitStack() as interpreter:
        if comparing.DEVICE == "cpu":
            interpreter.enter_context(checked_memory())
            interpreter.enter_context(patched_once())
        yield


@pytest.fixture(autouse=True)
def _a_kernel_test_compares(request: pytest.FixtureRequest) -> Iterator[None]:
    before = comparing.comparisons
    yield
    if request.path.name.endswith("_triton.py") and comparing.comparisons == before:
        pytest.fail("this kernel test has compared nothing: call comparing.assert_close or check")
