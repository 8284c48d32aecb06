"""What tells experiments apart: their names are hashes, which say nothing."""

import json
from typing import Any

import pandas as pd

LONGEST = 24
"""Values with more characters, the segments of a task say, are cut to an ellipsis."""


def settings_of(record: str) -> dict[str, Any]:
    """What the points of a record's experiment share, by option: of task, backbone and recipe."""
    read = json.loads(record)
    config = read["config"]
    options = {**config["task"], **config["model"], **config["training"]}
    del options["name"], options["learning_rate"]
    return {**options, "task_version": read["versions"]["task"]}


def distinctions(points: pd.DataFrame) -> dict[str, str]:
    """By experiment, the options that the experiments of its task do not agree on.

    "norm=rmsnorm embedding_dropout=0.0", in the order of the record; nothing for the only
    experiment of a task. Takes `recall_bench.frontier.points`.
    """
    said = {}
    for _, same_task in points.groupby("task"):
        settings = same_task.groupby("experiment")["settings"].first().map(json.loads)
        for name, options in settings.items():
            others = [other for other in settings if other is not options]
            said[str(name)] = " ".join(
                f"{option}={_short(value)}"
                for option, value in options.items()
                if any(option not in other or other[option] != value for other in others)
            )
    return said


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= LONGEST else "…"
