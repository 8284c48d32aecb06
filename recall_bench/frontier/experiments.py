"""What tells experiments apart, whose names are hashes, and what tells points apart."""

import json
from collections.abc import Iterable
from typing import Any

import pandas as pd

from recall_bench.store.record import shared

LONGEST = 24
"""Values with more characters, the segments of a task say, are cut to an ellipsis."""


def settings_of(record: str) -> dict[str, Any]:
    """What the points of a record's experiment share, by option, "none" for None."""
    read = json.loads(record)
    parts = shared(read["config"], read["versions"])
    options = {**parts["task"], **parts["model"], **parts["training"]}
    del options["name"]
    options["task_version"] = parts["version"]
    return {name: "none" if value is None else value for name, value in options.items()}


def distinctions(points: pd.DataFrame) -> dict[str, str]:
    """By experiment, the options that the experiments of its task do not agree on.

    "norm=rmsnorm embedding_dropout=0.0", in the order of the record; nothing for the only
    experiment of a task. Takes `recall_bench.frontier.points.points`.
    """
    said = {}
    for _, same_task in points.groupby("task"):
        settings = same_task.groupby("experiment")["settings"].first()
        names = varying(settings)
        for experiment, text in settings.items():
            options = json.loads(text)
            said[str(experiment)] = " ".join(
                f"{name}={_short(value)}" for name, value in options.items() if name in names
            )
    return said


def varying(settings: Iterable[str]) -> list[str]:
    """The names whose values differ, given the JSON of each point's knobs, say."""
    parsed = [json.loads(text) for text in settings]
    names = list(dict.fromkeys(name for setting in parsed for name in setting))
    return [name for name in names if len({str(setting.get(name)) for setting in parsed}) > 1]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= LONGEST else "…"
