"""Turns a command line and its preset into a task and a list of runs."""

import math
from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

from recall_bench import registry
from recall_bench.cli import options
from recall_bench.cli.options import Panel
from recall_bench.config import LARGEST, ModelConfig, RunConfig, TrainingConfig, build
from recall_bench.errors import UserError, nearest
from recall_bench.recipes import presets

if TYPE_CHECKING:
    from recall_bench.recipes.suites import Suite

TASK, RECIPE, BACKBONE = "Task options", "Training recipe", "Backbone"
KNOBS = "Knobs"
SWEPT_KNOBS = "Knobs (values separated by commas are swept)"

MOST_RUNS = 20_000

Given = dict[str, dict[str, str]]
"""The texts of the flags used: ``{panel title: {field: text}}``."""


def panels(architectures: Sequence[str], task: str, preset: str, sweep: bool) -> list[Panel]:
    """Groups of flags: knobs of the architectures, options of the task, recipe, and backbone.

    A sweep runs the preset's knob grid by default; a single run has no grid.
    """
    chosen = presets.get(preset)
    grid = {k: v for name in architectures for k, v in chosen.knobs(name).items()} if sweep else {}
    models = tuple(registry.architectures.get(name) for name in architectures)
    return [
        Panel(SWEPT_KNOBS if sweep else KNOBS, models, preset=grid, swept=True),
        Panel(TASK, (registry.tasks.get(task),), preset=chosen.options(task), prefix="task"),
        Panel(RECIPE, (TrainingConfig,), frozenset({"learning_rate"}), chosen.training),
        Panel(BACKBONE, (ModelConfig,), preset=chosen.model, prefix="backbone"),
    ]


def build_task(name: str, preset: presets.Preset, given: dict[str, str]) -> Any:
    """Build a task by name, with the options of the preset and the given texts."""
    texts = {field: options.none_or_text(text) for field, text in given.items()}
    return build(registry.tasks, {**preset.options(name), **texts, "name": name})


def build_runs(
    arch: str,
    task: str,
    preset: str,
    learning_rates: Sequence[float],
    seeds: Sequence[int],
    given: Given,
) -> list[RunConfig]:
    """The runs of a command line; commas or the preset's grid make several."""
    from recall_bench.sweeps.expand import expand

    chosen = presets.get(preset)
    names = architecture_names(arch)
    sweep = SWEPT_KNOBS in given
    texts = given[SWEPT_KNOBS if sweep else KNOBS]
    knobs = {name: options.split_values(text) for name, text in texts.items()}
    check_count(math.prod(map(len, knobs.values())), "settings")
    settings = []
    for name in names:
        known = registry.architectures.get(name).model_fields
        own = {knob: values for knob, values in knobs.items() if knob in known}
        settings += [{"name": name, **s} for s in chosen.knob_settings(name, own, grid=sweep)]
    check_count(len(settings) * len(learning_rates) * len(seeds), "runs")
    return expand(
        task=build_task(task, chosen, given[TASK]),
        architectures=settings,
        model={**chosen.model, **given[BACKBONE]},
        training={**chosen.training, **_texts(given[RECIPE])},
        learning_rates=learning_rates,
        seeds=seeds,
    )


def build_suite_runs(
    arch: str, suite: "Suite", learning_rates: Sequence[float], seeds: Sequence[int], given: Given
) -> list[RunConfig]:
    """The runs of a suite: all settings with the middle learning rate first, then the others.

    The suite supplies knobs and recipe unless the command line does. Raises `UserError` for options
    of a task, since a suite has several tasks.
    """
    from recall_bench.sweeps.expand import expand

    if given[TASK]:
        flags = ", ".join(options.flag_of(name) for name in given[TASK])
        raise UserError(f"A suite has its own tasks: {flags} cannot be combined with --suite.")
    knobs = {name: options.split_values(text) for name, text in given[SWEPT_KNOBS].items()}
    check_count(math.prod(map(len, knobs.values())), "settings")
    recipe = {**suite.training, **_texts(given[RECIPE])}
    decays = suite.weight_decays if "weight_decay" not in given[RECIPE] else []
    recipes = [{**recipe, "weight_decay": decay} for decay in decays] or [recipe]
    points = [
        point for name in architecture_names(arch) for point in _suite_points(name, suite, knobs)
    ]
    rates = learning_rates or suite.learning_rates
    blocks = len(suite.settings()) * len(recipes)
    check_count(len(points) * len(rates) * len(seeds) * blocks, "runs")
    runs = [
        expand(
            task={"name": setting.task, **setting.options},
            architectures=points,
            model={**suite.model, **given[BACKBONE]},
            training=recipe,
            learning_rates=rates,
            seeds=seeds,
        )
        for setting in suite.settings()
        for recipe in recipes
    ]
    by_recipe = [
        [group[start : start + len(points)] for start in range(0, len(group), len(points))]
        for group in runs
    ]
    return [run for turn in zip(*by_recipe, strict=True) for block in turn for run in block]


def _suite_points(name: str, suite: "Suite", knobs: dict[str, list[str]]) -> list[dict[str, Any]]:
    """The knob settings of an architecture: the suite's, with given knobs crossed."""
    known = registry.architectures.get(name).model_fields
    crossed = {
        **{k: v if isinstance(v, list) else [v] for k, v in suite.knobs(name).items()},
        **{k: v for k, v in knobs.items() if k in known},
    }
    settings = [dict(zip(crossed, values, strict=True)) for values in product(*crossed.values())]
    return [{"name": name, **setting} for setting in settings]


def architecture_names(arch: str) -> list[str]:
    """The names in ``--arch``; raises `UserError` if there are none or one is unknown."""
    if not (names := split_names(arch)):
        raise UserError(f"--arch {arch!r} names nothing. {nearest('', registry.architectures)}")
    for name in names:
        registry.architectures.get(name)
    return names


def learning_rates(text: str | None, flag: str) -> list[float]:
    """The numbers in a list, each checked as a learning rate; an empty list for None."""
    parts = [] if text is None else text.split(",")
    for part in parts:
        options.check(TrainingConfig, "learning_rate", part.strip(), flag)
    return [float(part) for part in parts]


def seeds(text: str | None, default: int) -> list[int]:
    """Seeds 0 … N-1 for a single number N, otherwise the numbers in the list."""
    parts = [str(default)] if text is None else [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts) or parts == ["0"]:
        raise UserError(
            f"--seeds {text}: expected a number of seeds, at least 1, or a list such as 0,5."
        )
    for part in parts:
        if len(part) > len(str(LARGEST)):
            raise UserError(f"--seeds: a number of {len(part)} digits is too large.")
    numbers = [int(part) for part in parts]
    if len(numbers) == 1:
        check_count(numbers[0], "seeds")
        return list(range(numbers[0]))
    for number in numbers:
        check_seed(number, "--seeds")
    return numbers


def check_seed(seed: int, flag: str) -> None:
    """Raise `UserError` for a seed that the generators do not take."""
    if seed > LARGEST:
        raise UserError(f"{flag} {seed}: expected a seed of at most {LARGEST}.")


def check_count(count: int, what: str) -> None:
    """Raise `UserError` for more runs than one sweep plans."""
    if count > MOST_RUNS:
        raise UserError(f"{count:,} {what}: expected at most {MOST_RUNS:,} in one sweep.")


def _texts(given: dict[str, str]) -> dict[str, str | None]:
    return {field: options.none_or_text(text) for field, text in given.items()}


def split_names(text: str) -> list[str]:
    """The names in a comma-separated list."""
    return [name.strip() for name in text.split(",") if name.strip()]
