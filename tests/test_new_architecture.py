"""A file in a family's folder is all that a new architecture needs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import recall_bench

PACKAGE = Path(recall_bench.__file__).parent
EXAMPLE = PACKAGE.parent / "examples" / "decay_attention.py"

SCRIPT = """
import contextlib, io, recall_bench
from pathlib import Path

def main(*words):
    from recall_bench.cli import main
    try:
        main([*words])
    except SystemExit as ended:
        assert not ended.code, (words, ended.code)

if __name__ == "__main__":
    assert Path(recall_bench.__file__).is_relative_to(Path.cwd())
    main("list")
    main("check", "decay-attention")
    smoke = ("--preset", "smoke", "--epochs", "1", "--learning-rates", "0.01")
    main("sweep", "--arch", "decay-attention", "--processes", "1", "--d-model", "16", *smoke)
    main("plot", "--output", "frontier.svg")
    from recall_bench.cli.architecture_table import table
    print(table())
"""


@pytest.mark.slow
def test_a_file_in_a_familys_folder_is_listed_checked_swept_drawn_and_documented(
    tmp_path: Path,
) -> None:
    copied = tmp_path / "recall_bench"
    shutil.copytree(PACKAGE, copied, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(EXAMPLE, copied / "architectures" / "linear_attention" / EXAMPLE.name)
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "decay-attention: Short convolution + fading linear attention" in done.stdout
    assert re.search(r"decay-attention: (\d+) of \1 properties hold", done.stdout)
    assert "1 run done" in done.stdout
    assert "| `decay-attention` | linear attention | Short convolution + fading" in done.stdout
    assert ">decay-attention" in (tmp_path / "frontier.svg").read_text()
