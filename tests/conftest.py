import os

# Tests run side by side, and the threads of tiny operations would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

# Triton reads this when it is first imported, which several modules of torch do.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

import pytest
from command_line import recall_bench, run_in

__all__ = ["recall_bench", "run_in"]


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


@pytest.fixture(autouse=True, scope="session")
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Prepared data go where the tests' other files go."""
    os.environ["RECALL_BENCH_CACHE"] = str(tmp_path_factory.mktemp("cache"))
