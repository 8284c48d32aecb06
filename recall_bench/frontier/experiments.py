"""Describes experiments, whose names are hashes, by the options in which they differ."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from recall_bench.errors import UserError, nearest
from recall_bench.frontier.points import as_points
from recall_bench.frontier.selection import unmeasured

LONGEST = 24
"""Longer values, such as the segments of a task, are shown as an ellipsis."""


def distinctions(points: pd.DataFrame) -> dict[str, str]:
    """By experiment, the options in which the experiments of its task differ.

    For example "norm=rmsnorm embedding_dropout=0.0", in the order of the record. The only
    experiment of a task gets an empty text. Takes `recall_bench.frontier.points.points`.
    """
    texts = {}
    for _, same_task in points.groupby("task"):
        settings = same_task.groupby("experiment")["settings"].first()
        names = varying(settings)
        for experiment, options in settings.items():
            texts[str(experiment)] = " ".join(
                f"{name}={_short(value)}" for name, value in options.items() if name in names
            )
    return texts


def varying(settings: Iterable[Mapping[str, Any]]) -> list[str]:
    """The names whose values differ between settings, such as the knobs of points."""
    settings = list(settings)
    names = list(dict.fromkeys(name for setting in settings for name in setting))
    return [name for name in names if len({str(setting.get(name)) for setting in settings}) > 1]


def one_experiment(data: pd.DataFrame, experiment: str | None) -> pd.DataFrame:
    """The points of the named experiment, or of the only one; takes runs or `points`.

    Leaves out points whose runs all failed before their size was known. Raises `UserError` if no
    point remains, if there are several experiments and none is named, and for an unknown name.
    """
    table = as_points(data)
    table = table[table["state_bytes"].notna() | unmeasured(table)].reset_index(drop=True)
    if table.empty:
        raise UserError("Nothing to plot. Expected at least one run that did not fail.")
    names = table["experiment"].unique()
    if experiment is None and len(names) > 1:
        differences = distinctions(table)
        lines = [
            f"  {name}: {len(points)} points of {points['task'].iloc[0]} "
            f"{differences[str(name)]}".rstrip()
            for name, points in table.groupby("experiment")
        ]
        raise UserError(
            f"The runs belong to {len(names)} experiments, whose points cannot be compared. "
            f"Choose one by name: experiment=…, or --experiment … on the command line.\n"
            + "\n".join(lines)
        )
    if experiment is not None and experiment not in names:
        raise UserError(f"Unknown experiment '{experiment}'. {nearest(experiment, names)}")
    return table[table["experiment"] == (experiment or names[0])].reset_index(drop=True)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= LONGEST else "…"
