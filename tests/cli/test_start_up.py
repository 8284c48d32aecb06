"""Commands that compute nothing start quickly, since they import nothing heavy."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

RECORDS = Path(__file__).parents[2] / "results" / "quick" / "records.jsonl"
SMOKE = ("--preset", "smoke", "--processes", "1", "--epochs", "1", "--learning-rates", "0.01")

RUN = """
import json, sys
from recall_bench.cli import main
try:
    main(json.loads(sys.argv[1]))
except SystemExit as ended:
    assert ended.code in (0, None), ended.code
imported = [name for name in json.loads(sys.argv[2]) if name in sys.modules]
assert not imported, f"imported {imported}"
"""

PLAN = """
import json, sys
from recall_bench.cli import request
from recall_bench.config import RunConfig
from recall_bench.recipes import presets, suites
from recall_bench.registry import architectures, tasks
from recall_bench.sweeps import building, carry_out
titles = (request.SWEPT_KNOBS, request.TASK, request.RECIPE, request.BACKBONE)
given = {title: {} for title in titles}
names = ",".join(architectures)
runs = [
    run
    for preset in presets.PRESETS
    for task in tasks
    if task not in ("swde", "squad", "text")  # they need data
    for run in request.build_runs(names, task, preset, [1e-3], [0], given)
]
for suite in suites.SUITES:
    runs += request.build_suite_runs(names, suites.get(suite), [], [0], given)
assert len({run.run_id for run in runs}) > 500
for run in building.representatives(runs):
    RunConfig.model_validate_json(run.model_dump_json())
    assert all(run.task.segments(split) for split in ("train", "validation", "test"))
assert "torch" not in sys.modules
"""


def python(directory: Path, code: str, *words: str) -> str:
    """What a program prints on standard error; it has to end well."""
    process = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=directory, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    return process.stderr


@pytest.mark.parametrize(
    ("words", "heavy"),
    [
        (["list"], ["torch", "pandas", "pyarrow", "matplotlib"]),
        (["list", "mqar"], ["torch", "pandas", "pyarrow", "matplotlib"]),
        (["sweep", "--arch", "based", "--help"], ["torch", "pandas", "pyarrow", "matplotlib"]),
        (["report", "--store", "some.jsonl"], ["torch", "matplotlib"]),
        (["plot", "--store", "some.jsonl", "--output", "frontier.svg"], ["torch"]),
    ],
    ids=lambda part: " ".join(part),
)
def test_commands_that_compute_nothing_import_no_torch(
    tmp_path: Path, words: list[str], heavy: list[str]
) -> None:
    with RECORDS.open() as records:
        (tmp_path / "some.jsonl").write_text("".join(records.readline() for _ in range(6)))
    python(tmp_path, RUN, json.dumps(words), json.dumps(heavy))


def test_every_preset_and_suite_is_planned_without_torch(tmp_path: Path) -> None:
    python(tmp_path, PLAN)


def test_the_parent_of_a_sweep_never_imports_torch(tmp_path: Path) -> None:
    words = ["sweep", "--arch", "short-conv", "--device", "cpu", *SMOKE]
    assert python(tmp_path, RUN, json.dumps(words), json.dumps(["torch"])) == ""
    assert list(tmp_path.glob("runs/*/record.json"))


def test_an_unknown_attribute_of_a_lazy_package_is_an_attribute_error() -> None:
    from recall_bench import training
    from recall_bench.lazy import torch

    for module in (training, torch):
        with pytest.raises(AttributeError, match="no_such_name"):
            module.no_such_name  # noqa: B018
