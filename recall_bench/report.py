"""The points of a store as a table to read in a terminal."""

import json

import pandas as pd
from rich.table import Table

from recall_bench.ceilings import with_ceiling
from recall_bench.frontier import as_points, frontier


def points_table(data: pd.DataFrame) -> Table:
    """Runs or points -> one row a point, by state size; a star marks those on the frontier."""
    table = with_ceiling(as_points(data))
    table = table.sort_values(["experiment", "state_bytes", "knobs"], ignore_index=True)
    best = {
        (row["experiment"], row["architecture"], row["knobs"])
        for _, group in table.groupby("experiment")
        for row in frontier(group).to_dict("records")
    }
    shown = Table(
        "", "architecture", "knobs", title="Recall on test; learning rate chosen on validation"
    )
    for name in ("state bytes", "recall", "95% interval", "seeds", "learning rate", "ceiling"):
        shown.add_column(name, justify="right")
    defaults = _common(table["knobs"])
    for row in table.to_dict("records"):
        key = (row["experiment"], row["architecture"], row["knobs"])
        low, high = row["test_accuracy_low"], row["test_accuracy_high"]
        shown.add_row(
            "★" if key in best else "",
            row["architecture"],
            _knobs(row["knobs"], defaults),
            f"{row['state_bytes']:,.0f}",
            f"{row['test_accuracy']:.3f}",
            "" if pd.isna(low) else f"{low:.3f} to {high:.3f}",
            str(row["seeds"]),
            f"{row['learning_rate']:g}",
            "" if pd.isna(row["recall_ceiling"]) else f"{row['recall_ceiling']:.3f}",
            end_section=False,
        )
    return shown


def _common(knobs: pd.Series) -> set[str]:
    """Knobs that say nothing: the stacking, and what never varies."""
    settings = [json.loads(text) for text in knobs]
    names = {name for setting in settings for name in setting}
    same = {name for name in names if len({json.dumps(s.get(name)) for s in settings}) == 1}
    return (same if len(settings) > 1 else set()) | {"layers"}


def _knobs(text: str, hidden: set[str]) -> str:
    setting = json.loads(text)
    return " ".join(f"{name}={value}" for name, value in setting.items() if name not in hidden)
