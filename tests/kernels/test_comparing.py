import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from comparing import assert_close, poisoned_memory

HERE = Path(__file__).parent


EXAMPLES = """
import comparing, torch

def test_that_compares():
    comparing.assert_close("x", torch.ones(3), torch.ones(3), 1e-5)

def test_without_an_assertion():
    if False:
        assert False
"""


def test_a_kernel_test_fails_where_it_compares_nothing(tmp_path):
    for name in ("conftest.py", "comparing.py", "memory_bounds.py", "quick_interpreter.py"):
        shutil.copy(HERE / name, tmp_path)
    (tmp_path / "test_example_triton.py").write_text(EXAMPLES)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 1
    assert "ERROR test_example_triton.py::test_without_an_assertion" in run.stdout
    assert "compared nothing" in run.stdout
    assert "2 passed, 1 error" in run.stdout


@pytest.mark.parametrize("wrong", [float("nan"), 1.1])
def test_assert_close_rejects_wrong_and_missing_values(wrong):
    with pytest.raises(AssertionError, match="relative error"):
        assert_close("x", torch.tensor([1.0, wrong]), torch.ones(2), 1e-2)


def test_new_memory_is_poisoned():
    with poisoned_memory():
        assert torch.empty(7).isnan().all()
        assert torch.ones(2).new_empty(7).isnan().all()
