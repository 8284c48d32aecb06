"""What tells experiments apart, whose names are hashes, and what tells points apart."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from recall_bench.errors import UserError, nearest
from recall_bench.frontier.points import as_points
from recall_bench.frontier.selection import unmeasured

LONGEST = 24
"""Values with more characters, the segments of a task say, are cut to an ellipsis."""


def distinctions(points: pd.DataFrame) -> dict[str, str]:
    """By experiment, the options that the experiments of its task do not agree on.

    "norm=rmsnorm embedding_dropout=0.0", in the order of the record; nothing for the only
    experiment of a task. Takes `recall_bench.frontier.points.points`.
    """
    said = {}
    for _, same_task in points.groupby("task"):
        settings = same_task.groupby("experiment")["settings"].first()
        names = varying(settings)
        for experiment, options in settings.items():
            said[str(experiment)] = " ".join(
                f"{name}={_short(value)}" for name, value in options.items() if name in names
            )
    return said


def varying(settings: Iterable[Mapping[str, Any]]) -> list[str]:
    """The names whose values differ, given the knobs of each point, say."""
    settings = list(settings)
    names = list(dict.fromkeys(name for setting in settings for name in setting))
    return [name for name in names if len({str(setting.get(name)) for setting in settings}) > 1]


def one_experiment(data: pd.DataFrame, experiment: str | None) -> pd.DataFrame:
    """The points of one experiment, of runs or `points`; the only one where none is named.

    Points of which no run came as far as having a size are left out. Raises `UserError` where there
    are none, where there are several experiments and none is named, and for an unknown name.
    """
    table = as_points(data)
    table = table[table["state_bytes"].notna() | unmeasured(table)].reset_index(drop=True)
    if table.empty:
        raise UserError("Nothing to plot. Expected at least one run that did not fail.")
    names = table["experiment"].unique()
    if experiment is None and len(names) > 1:
        told = distinctions(table)
        lines = [
            f"  {name}: {len(points)} points of {points['task'].iloc[0]} {told[str(name)]}".rstrip()
            for name, points in table.groupby("experiment")
        ]
        raise UserError(
            f"The runs belong to {len(names)} experiments, whose points do not compare. Choose one "
            f"by name: experiment=…, or --experiment … on the command line.\n" + "\n".join(lines)
        )
    if experiment is not None and experiment not in names:
        raise UserError(f"Unknown experiment '{experiment}'. {nearest(experiment, names)}")
    return table[table["experiment"] == (experiment or names[0])].reset_index(drop=True)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= LONGEST else "…"
