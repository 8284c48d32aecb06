"""What a command line asks for: its flags, joined with a preset, as a task and a list of runs."""

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

from recall_bench import registry
from recall_bench.cli import options
from recall_bench.cli.options import Panel
from recall_bench.config import ModelConfig, RunConfig, TrainingConfig, build
from recall_bench.errors import UserError, nearest
from recall_bench.recipes import presets

if TYPE_CHECKING:
    from recall_bench.recipes.suites import Suite

TASK, RECIPE, BACKBONE = "Task options", "Training recipe", "Backbone"
KNOBS = "Knobs"
SWEPT_KNOBS = "Knobs (values separated by commas are swept)"

Given = dict[str, dict[str, str]]
"""The flags that were used, as text: ``{panel title: {field: text}}``."""


def panels(architectures: Sequence[str], task: str, preset: str, sweep: bool) -> list[Panel]:
    """Flags for the knobs of the architectures, the task's options, the recipe, the backbone.

    The knob grid of the preset is what a sweep runs by default; a single run takes no grid.
    """
    chosen = presets.get(preset)
    grid = {k: v for name in architectures for k, v in chosen.knobs(name).items()} if sweep else {}
    models = tuple(registry.architectures.get(name) for name in architectures)
    return [
        Panel(SWEPT_KNOBS if sweep else KNOBS, models, preset=grid, swept=True),
        Panel(TASK, (registry.tasks.get(task),), preset=chosen.options(task)),
        Panel(RECIPE, (TrainingConfig,), frozenset({"learning_rate"}), chosen.training),
        Panel(BACKBONE, (ModelConfig,), preset=chosen.model),
    ]


def build_task(name: str, preset: presets.Preset, given: dict[str, str]) -> Any:
    """The task of a name, with the options of the preset and those given as text."""
    texts = {field: options.parsed(text) for field, text in given.items()}
    return build(registry.tasks, {**preset.options(name), **texts, "name": name})


def build_runs(
    arch: str,
    task: str,
    preset: str,
    learning_rates: Sequence[float],
    seeds: Sequence[int],
    given: Given,
) -> list[RunConfig]:
    """The runs that a command line asks for; with commas, or a grid of the preset, several."""
    from recall_bench.sweeps.expand import expand

    chosen = presets.get(preset)
    names = _names(arch)
    sweep = SWEPT_KNOBS in given
    texts = given[SWEPT_KNOBS if sweep else KNOBS]
    knobs = {name: options.values(text) for name, text in texts.items()}
    settings = []
    for name in names:
        known = registry.architectures.get(name).model_fields
        mine = {knob: values for knob, values in knobs.items() if knob in known}
        settings += [{"name": name, **s} for s in chosen.knob_settings(name, mine, grid=sweep)]
    return expand(
        task=build_task(task, chosen, given[TASK]),
        architectures=settings,
        model={**chosen.model, **given[BACKBONE]},
        training={**chosen.training, **{k: options.parsed(v) for k, v in given[RECIPE].items()}},
        learning_rates=learning_rates,
        seeds=seeds,
    )


def build_suite_runs(
    arch: str, suite: "Suite", learning_rates: Sequence[float], seeds: Sequence[int], given: Given
) -> list[RunConfig]:
    """The runs of a suite, every setting with its middle learning rate before any with another.

    Knobs and recipe come from the suite where they are not given. Raises `UserError` for options
    of a task, since a suite has several.
    """
    from recall_bench.sweeps.expand import expand

    if given[TASK]:
        flags = ", ".join(options.flag_of(name) for name in given[TASK])
        raise UserError(f"A suite has tasks of its own: {flags} cannot be given with --suite.")
    knobs = {name: options.values(text) for name, text in given[SWEPT_KNOBS].items()}
    recipe = {**suite.training, **{k: options.parsed(v) for k, v in given[RECIPE].items()}}
    decays = suite.weight_decays if "weight_decay" not in given[RECIPE] else []
    recipes = [{**recipe, "weight_decay": decay} for decay in decays] or [recipe]
    points = [point for name in _names(arch) for point in _suite_points(name, suite, knobs)]
    runs = [
        expand(
            task={"name": setting.task, **setting.options},
            architectures=points,
            model={**suite.model, **given[BACKBONE]},
            training=one,
            learning_rates=learning_rates or suite.learning_rates,
            seeds=seeds,
        )
        for setting in suite.settings()
        for one in recipes
    ]
    blocks = [
        [some[start : start + len(points)] for start in range(0, len(some), len(points))]
        for some in runs
    ]
    return [run for turn in zip(*blocks, strict=True) for block in turn for run in block]


def _suite_points(name: str, suite: "Suite", knobs: dict[str, list[str]]) -> list[dict[str, Any]]:
    """The knob settings of an architecture: the suite's, with what was given crossed."""
    known = registry.architectures.get(name).model_fields
    crossed = {
        **{k: v if isinstance(v, list) else [v] for k, v in suite.knobs(name).items()},
        **{k: v for k, v in knobs.items() if k in known},
    }
    settings = [dict(zip(crossed, values, strict=True)) for values in product(*crossed.values())]
    return [{"name": name, **setting} for setting in settings]


def _names(arch: str) -> list[str]:
    if not (names := listed(arch)):
        raise UserError(f"--arch {arch!r} names nothing. {nearest('', registry.architectures)}")
    return names


def learning_rates(text: str | None, flag: str) -> list[float]:
    """The numbers of a list, each checked as a learning rate; none for None."""
    parts = [] if text is None else text.split(",")
    for part in parts:
        options.check(TrainingConfig, "learning_rate", part.strip(), flag)
    return [float(part) for part in parts]


def seeds(text: str | None, default: int) -> list[int]:
    """Seeds 0 … N-1 for a single number N, else the list itself."""
    parts = [str(default)] if text is None else text.split(",")
    if not all(part.strip().isdecimal() for part in parts) or parts == ["0"]:
        raise UserError(
            f"--seeds {text}: expected how many, at least 1, or a list of seeds such as 0,5."
        )
    numbers = [int(part) for part in parts]
    return list(range(numbers[0])) if len(numbers) == 1 else numbers


def listed(text: str) -> list[str]:
    """The names in a list that is separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]
