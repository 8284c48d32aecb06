"""The scores of a suite from a table of runs, and their summary: tasks by architectures."""

from collections.abc import Collection
from typing import Any

import pandas as pd

from recall_bench import registry
from recall_bench.config import ModelConfig, TrainingConfig, build, canonical_json
from recall_bench.errors import UserError
from recall_bench.frontier.points import points
from recall_bench.frontier.segments import mean_of_segments
from recall_bench.recipes.suites.base import Suite
from recall_bench.store.table import nested

KEY = ["column", "change", "architecture", "knobs_key"]
SUMMARISED = ["column", "architecture", "knobs_key"]
SEARCHED = {"learning_rate", "weight_decay"}
"""The options that validation chooses; the rest of the recipe must be the same."""


def scores(frame: pd.DataFrame, suite: Suite) -> pd.DataFrame:
    """One row for each setting of a suite and each point, over whatever runs there are.

    Learning rate and weight decay are those that win the race on validation, every combination a
    candidate (see `recall_bench.frontier.points.points`). Columns: ``column``, ``change``,
    ``architecture``, ``knobs``, ``knobs_key``, ``validation_accuracy``, ``test_accuracy``,
    ``exact_match``, ``chance``, ``ceiling``, ``learning_rate``, ``weight_decay``, ``seeds``,
    ``unfinished``, ``learning_rates``, ``racing``, ``race_seeds``, ``waiting``, ``state_bytes``,
    ``parameters``. Points whose runs all failed have no score and no row.

    Raises `UserError` where no run belongs to the suite, or where its runs follow several recipes
    and none of them is the suite's own.
    """
    known = _settings(suite)
    runs = _of_tasks(nested(frame), known)
    runs = _of_one_recipe(runs, suite)
    decays = [float(training["weight_decay"]) for training in runs["training"]]
    # Experiments that differ in weight decay alone are one here: the race chooses among them.
    tasks = [canonical_json(options) for options in runs["task_options"]]
    runs = runs.assign(weight_decay=decays, experiment=tasks)
    rows = []
    for point in points(runs, ["learning_rate", "weight_decay"]).to_dict("records"):
        for column, change in known[canonical_json(point["task_options"])]:
            row: dict[str, Any] = {"column": column, "change": change}
            row |= {
                name: mean_of_segments(point["segments"], name)
                for name in ("exact_match", "chance", "ceiling")
            }
            row |= {name: point[name] for name in COPIED}
            rows.append(row | {"weight_decay": point["settings"]["weight_decay"]})
    table = pd.DataFrame(rows).dropna(subset="test_accuracy")
    if table.empty:
        raise UserError(
            f"Every run of the suite '{suite.name}' failed. Expected at least one that finished; "
            f"`recall-bench sweep --suite {suite.name} --retry-failed` runs them again."
        )
    return table.sort_values(KEY, ignore_index=True)


COPIED = [
    "architecture",
    "knobs",
    "knobs_key",
    "validation_accuracy",
    "test_accuracy",
    "learning_rate",
    "seeds",
    "unfinished",
    "learning_rates",
    "racing",
    "race_seeds",
    "waiting",
    "state_bytes",
    "parameters",
]


def summary(table: pd.DataFrame, suite: Suite) -> pd.DataFrame:
    """`scores` by column and point, means over settings.

    One row for each column of the suite and each point: ``column``, ``architecture``, ``knobs``,
    ``knobs_key``, ``settings`` (how many have a score), ``of`` (how many there are), ``seeds`` and
    ``most_seeds`` (the fewest and the most of a setting), ``waiting`` (how many settings have a
    race that waits for runs), and the means of ``test_accuracy``, ``exact_match``, ``chance`` and
    ``ceiling``.
    """
    means = ["test_accuracy", "exact_match", "chance", "ceiling"]
    rows = []
    for (column, architecture, key), group in table.groupby(SUMMARISED):
        row = {"column": column, "architecture": architecture, "knobs_key": key}
        row["knobs"] = group["knobs"].iloc[0]
        row |= {"settings": len(group), "of": len(suite.columns[str(column)].settings)}
        row |= {"seeds": int(group["seeds"].min()), "most_seeds": int(group["seeds"].max())}
        row["waiting"] = int((group["waiting"] > 0).sum())
        rows.append(row | group[means].astype(float).mean().to_dict())
    order = {name: index for index, name in enumerate(suite.columns)}
    return pd.DataFrame(rows).sort_values(
        SUMMARISED,
        key=lambda values: values.map(order) if values.name == "column" else values,
        ignore_index=True,
    )


def _settings(suite: Suite) -> dict[str, list[tuple[str, str]]]:
    """(column, change) of every setting, by the JSON that records of its runs have."""
    settings: dict[str, list[tuple[str, str]]] = {}
    for name, column in suite.columns.items():
        for setting in column.settings:
            task = build(registry.tasks, {"name": setting.task, **setting.options})
            text = canonical_json(task.model_dump(mode="json"))
            settings.setdefault(text, []).append((name, setting.change))
    return settings


def _of_tasks(runs: pd.DataFrame, known: Collection[str]) -> pd.DataFrame:
    """The runs of tasks with these options; the runs of one experiment share theirs."""
    if runs.empty:
        return runs
    options = runs.groupby("experiment")["task_options"].first()
    wanted = [name for name, value in options.items() if canonical_json(value) in known]
    return runs[runs["experiment"].isin(wanted)]


def _of_one_recipe(runs: pd.DataFrame, suite: Suite) -> pd.DataFrame:
    """The runs of the newest tasks under the suite's recipe, or under the only other one."""
    if runs.empty:
        raise UserError(
            f"There are no runs of the suite '{suite.name}'. "
            f"Run `recall-bench sweep --suite {suite.name} --arch NAME` first."
        )
    runs = runs[runs["task_version"] == runs.groupby("task")["task_version"].transform("max")]
    kinds = runs.groupby("experiment")[["training", "model"]].first()
    recipes = {name: _recipe(*row) for name, *row in kinds.itertuples()}
    runs = runs.assign(_recipe=runs["experiment"].map(recipes))
    training = TrainingConfig(**suite.training).model_dump(mode="json")
    own = _recipe(training, ModelConfig(**suite.model).model_dump(mode="json"))
    present = list(dict.fromkeys(runs["_recipe"]))
    if own not in present and len(present) > 1:
        raise UserError(
            f"The runs of the suite '{suite.name}' follow {len(present)} recipes, none of them the "
            f"suite's own: they do not compare. Expected one; give each a store of its own."
        )
    return runs[runs["_recipe"] == (own if own in present else present[0])]


def _recipe(training: dict[str, Any], model: dict[str, Any]) -> str:
    kept = {name: value for name, value in training.items() if name not in SEARCHED}
    return canonical_json([kept, model])
