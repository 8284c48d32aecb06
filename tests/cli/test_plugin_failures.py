"""Whatever a plugin does wrong, at whatever moment, is one line and exit code 2, or works."""

import inspect
from pathlib import Path

import pytest
from command_line import SMOKE, Command

from recall_bench.cli.verbs import catalogue, runs
from recall_bench.config import Component, TrainingConfig
from recall_bench.plugins import registration
from recall_bench.store.runs import ResultStore

PLUGIN = '''
import os, sys
{first}
import dataclasses, torch
from pydantic import Field
from recall_bench.architectures import Architecture, Mixer
from recall_bench.registry import register_architecture

MEMORY = {{}}

class Sum(Mixer):
    def __init__(self, width):
        super().__init__()
        {init}
        self.out = torch.nn.Linear(width, width)

    def forward(self, x):
        {forward}
        return self.out(x.cumsum(1))

    def initial_state(self, batch_size):
        return {{"sum": self.zeros(batch_size, self.out.in_features)}}

    def step(self, x, state):
        {step}
        return self.out(state["sum"] + x), {{"sum": state["sum"] + x}}

{decorator}
class Plug({base}):
    """A sum."""

    {field}

    def mixer(self):
        return Sum(self.d_model)
'''
USUAL = {
    "first": "",
    "init": "pass",
    "forward": "pass",
    "step": "pass",
    "decorator": "@register_architecture('plug')",
    "base": "Architecture",
    "field": "knob: int = Field(4, ge=1)",
}
HIDES = """key = float(state["sum"].flatten()[0]) if x.device.type != "meta" else 0.0
        total, number = MEMORY.get(key, 0) + x, float(len(MEMORY) + 1)
        MEMORY[number] = total
        return self.out(total), {"sum": torch.full_like(state["sum"], number)}"""


def write(directory: Path, **parts: str) -> None:
    (directory / "plug.py").write_text(PLUGIN.format(**{**USUAL, **parts}))


@pytest.mark.parametrize(
    ("part", "text", "message"),
    [
        ("first", "sys.exit(0)", "does not import: SystemExit: 0"),
        ("first", "raise KeyboardInterrupt", "does not import: KeyboardInterrupt"),
        ("first", "raise BaseException('odd')", "does not import: BaseException: odd"),
        ("decorator", "@register_architecture('../../evil')", "Cannot register architecture '../."),
        ("decorator", "@register_architecture('x' * 3000)", "up to 64 letters"),
        ("decorator", "@register_architecture('plug', version='x')", "version of architecture"),
        ("decorator", "@register_architecture('plug')\n@dataclasses.dataclass", "is a dataclass"),
        ("decorator", "@dataclasses.dataclass\n@register_architecture('plug')", "is a dataclass"),
        ("decorator", "register_architecture('plug')(Sum)\n", "Cannot register Sum"),
        ("decorator", "register_architecture('plug')(lambda: 3)\n", "Cannot register a function"),
        ("decorator", "register_architecture('plug')(3)\n", "Cannot register a int"),
        ("field", "knob: int", "'knob' of architecture 'plug' has no default"),
        ("field", "epochs: int = 4", "'epochs' of architecture 'plug' is a flag"),
        ("field", "layers: int = 2", "'layers' of architecture 'plug' is of another type"),
        ("field", "knob: int = Field(70, le=64)", "The defaults of architecture 'plug'"),
        ("field", "knob: float = float('nan')", "The defaults of architecture 'plug'"),
        ("field", "source = 3", "source of architecture 'plug' is a int"),
        ("init", "raise RuntimeError('no init')", "cannot be built: RuntimeError: no init"),
        ("init", "sys.exit(0)", "cannot be built: SystemExit: 0"),
        ("forward", "raise KeyboardInterrupt", "breaks the contract"),
        ("forward", "sys.exit(0)", "breaks the contract"),
        ("step", HIDES, "the state holds everything"),
    ],
)
def test_a_failure_is_one_line(
    recall_bench: Command, tmp_path: Path, part: str, text: str, message: str
) -> None:
    write(tmp_path, **{part: text})
    recall_bench("check", "plug.py").refused(message)
    words = ("sweep", "--plugin", "plug.py", "--arch", "plug", *SMOKE)
    recall_bench(*words).refused(message)
    assert not (tmp_path / "runs").exists()


def test_a_plugin_that_fails_leaves_nothing_registered(
    recall_bench: Command, tmp_path: Path
) -> None:
    write(tmp_path, field="knob: int")
    recall_bench("list", "--plugin", "plug.py").refused("no default")
    recall_bench("list", "plug").refused("Unknown architecture or task 'plug'")
    write(tmp_path)
    recall_bench("list", "plug", "--plugin", "plug.py").succeeded("--knob INT")


@pytest.mark.parametrize("error", ["raise KeyboardInterrupt", "sys.exit(0)", "raise GeneratorExit"])
def test_what_a_mixer_raises_in_training_is_a_failed_run_once(
    recall_bench: Command, tmp_path: Path, error: str
) -> None:
    write(tmp_path, forward=f"if self.training: {error}")
    words = ("sweep", "--plugin", "plug.py", "--arch", "plug", "--unchecked", *SMOKE)
    outcome = recall_bench(*words)
    assert outcome.code == 2
    assert "1 of 1 runs failed" in outcome.err
    (record,) = ResultStore(tmp_path / "runs").records()
    assert record.status == "failed"


def test_a_worker_that_dies_while_it_imports_is_one_message(
    recall_bench: Command, tmp_path: Path
) -> None:
    write(tmp_path, first="if 'typer' not in sys.modules: os._exit(9)")
    words = ("sweep", "--plugin", "plug.py", "--arch", "plug", "--unchecked", *SMOKE)
    recall_bench(*words).refused("Worker processes do not start", "exit code 9")
    assert not (tmp_path / "runs").exists()


def test_an_option_of_a_task_with_the_name_of_a_knob_has_a_flag_of_its_own(
    recall_bench: Command,
) -> None:
    words = ("sweep", "--arch", "short-conv", "--task", "squad")
    recall_bench(*words, "--help").succeeded("--form", "--task-form")
    recall_bench(*words, "--task-form", "x").refused("--task-form x for squad", "cloze or question")


def test_no_option_may_take_the_name_of_a_flag() -> None:
    verbs = (runs.train, runs.sweep, catalogue.show)
    flags = {name for verb in verbs for name in inspect.signature(verb).parameters} - {"given"}
    fields = {*TrainingConfig.model_fields, "recipe"}
    class_variables = {"name", "alias", "version"}
    assert class_variables <= set(vars(Component))
    assert flags | fields | class_variables | {"help"} == registration.FLAGS
