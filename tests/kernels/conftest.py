"""Triton kernels run in Triton's interpreter where there is no GPU; each test must compare."""

from collections.abc import Iterator

import comparing
import pytest


@pytest.fixture(autouse=True)
def _a_kernel_test_compares(request: pytest.FixtureRequest) -> Iterator[None]:
    before = comparing.comparisons
    yield
    if request.path.name.endswith("_triton.py") and comparing.comparisons == before:
        pytest.fail("this kernel test has compared nothing: call comparing.assert_close or check")
