import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from comparing import assert_close, poisoned_memory

HERE = Path(__file__).parent


def _run(folder: Path, body: str) -> subprocess.CompletedProcess[str]:
    for name in ("conftest.py", "comparing.py", "memory_bounds.py"):
        shutil.copy(HERE / name, folder)
    (folder / "test_example_triton.py").write_text(body)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder)


def test_a_kernel_test_that_compares_nothing_fails(tmp_path):
    run = _run(tmp_path, "def test_nothing():\n    if False:\n        assert False\n")
    assert run.returncode == 1
    assert "compared nothing" in run.stdout


def test_a_kernel_test_that_compares_passes(tmp_path):
    body = (
        "import comparing, torch\n"
        "def test_something():\n"
        "    comparing.assert_close('x', torch.ones(3), torch.ones(3), 1e-5)\n"
    )
    assert _run(tmp_path, body).returncode == 0


@pytest.mark.parametrize("wrong", [float("nan"), 1.1])
def test_assert_close_rejects_wrong_and_missing_values(wrong):
    with pytest.raises(AssertionError, match="relative error"):
        assert_close("x", torch.tensor([1.0, wrong]), torch.ones(2), 1e-2)


def test_new_memory_is_poisoned():
    with poisoned_memory():
        assert torch.empty(7).isnan().all()
        assert torch.ones(2).new_empty(7).isnan().all()
