"""Records as a table: one row per record, one typed column per field.

`NESTED` columns hold dictionaries and lists. They are parsed once, and rows with equal values share
them; files hold them as JSON text (`flat`, `nested`).
"""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from recall_bench.config import canonical_json
from recall_bench.store.record import EvaluationRecord, Record, ScoredRecord, TrainingRecord
from recall_bench.store.schemas import Stored, parse, stored

if TYPE_CHECKING:  # workers need no tables
    import pandas as pd

NUMBERS = (
    "learning_rate",
    "validation_accuracy",
    "test_accuracy",
    "test_loss",
    "state_bytes",
    "parameters",
    "late_fall",
    "wall_seconds",
    "tokens_per_second",
)
"""Columns of type float64, NaN if a record has no such number."""

BLANK: dict[str, Any] = {
    "run_id": "",
    "kind": "",
    "status": "",
    "reason": None,
    "experiment": "",
    "task": "",
    "task_version": 0,
    "architecture": "",
    "architecture_version": 0,
    "knobs": {},
    "knobs_key": "{}",
    "learning_rate": None,
    "seed": None,
    "validation_accuracy": None,
    "test_accuracy": None,
    "test_loss": None,
    "state_bytes": None,
    "state_dtype": None,
    "parameters": None,
    "late_fall": None,
    "wall_seconds": None,
    "tokens_per_second": None,
    "verified": None,
    "segments": [],
    "slices": [],
    "task_options": {},
    "model": {},
    "training": {},
    "record": "",
}
"""The columns of the table, and their values for a record that lacks them.

``knobs_key`` is text for grouping and sorting: equal where runs are of one point. It leaves out
knobs that came later and have their default (`TrainingRecord.left_out`). Where a plugin defines
part of a run, the knobs include ``code``, the digest of its source, so that runs of edited code
never share a point. ``training`` is the recipe
without the learning rate, ``record`` the whole record as JSON.
"""

NESTED = ("knobs", "segments", "slices", "task_options", "model", "training", "settings")
"""Columns of dictionaries and lists, of this table and of `recall_bench.frontier.points`."""


def row(record: Record, text: str | None = None) -> dict[str, Any]:
    """One row of the table; ``text`` is the record's JSON, if it is known."""
    values = BLANK | {
        "run_id": record.run_id,
        "kind": record.kind,
        "status": record.status,
        "reason": record.reason,
        "record": stored(record).text if text is None else text,
    }
    if not isinstance(record, ScoredRecord):
        return values
    shared, memory = record.shared, record.memory
    values |= {
        "experiment": record.experiment,
        "task": shared["task"]["name"],
        "task_version": shared["version"],
        "test_accuracy": record.test_accuracy,
        "task_options": shared["task"],
        "model": shared["model"],
        "training": shared["training"],
        "verified": record.verified,
    }
    values |= record.model_dump(include={"segments", "slices"})
    if memory:
        values["state_bytes"], values["state_dtype"] = memory.state_bytes, memory.state_dtype
        values["parameters"] = memory.parameters
    if isinstance(record, TrainingRecord):
        values |= _of_architecture(
            record.config["architecture"], record.options["architecture"], record.plugin_digest
        ) | {
            "architecture_version": record.versions.get("architecture", 1),
            "learning_rate": record.config["training"]["learning_rate"],
            "seed": record.config["seed"],
            "validation_accuracy": record.validation_accuracy,
            "test_loss": record.test_loss,
            "late_fall": record.late_fall,
        }
    elif isinstance(record, EvaluationRecord):
        values |= _of_architecture(record.model, record.model) | {"architecture_version": 1}
    if isinstance(record, TrainingRecord | EvaluationRecord) and record.timing:
        values["wall_seconds"] = record.timing.wall_seconds
        values["tokens_per_second"] = record.timing.tokens_per_second
    return values


def _of_architecture(
    hashed: dict[str, Any], options: dict[str, Any], plugin_digest: str | None = None
) -> dict[str, Any]:
    code = {"code": plugin_digest} if plugin_digest else {}
    return {
        "architecture": hashed["name"],
        "knobs": _knobs(options) | code,
        "knobs_key": canonical_json(_knobs(hashed) | code),
    }


def _knobs(options: dict[str, Any]) -> dict[str, Any]:
    return {key: options[key] for key in sorted(options) if key != "name"}


def frame(records: Iterable[Record]) -> "pd.DataFrame":
    """One row per record, ordered by run id; columns and types are always the same."""
    return table_of(stored(record) for record in records)


def table_of(records: Iterable[Stored]) -> "pd.DataFrame":
    """`frame` of records with their stored JSON."""
    import pandas as pd

    kept: dict[str, Any] = {}
    rows = []
    for record, text in records:
        made = row(record, text)
        point = [str(made[name]) for name in ("architecture", "architecture_version", "knobs_key")]
        made["knobs"] = kept.setdefault(" ".join([*point, str(len(made["knobs"]))]), made["knobs"])
        for name in ("task_options", "model", "training"):  # equal within an experiment
            made[name] = kept.setdefault(name + made["experiment"], made[name])
        rows.append(made)
    rows.sort(key=lambda made: made["run_id"])
    columns = {name: [made[name] for made in [*rows, BLANK]] for name in BLANK}
    table = pd.DataFrame(columns).astype(dict.fromkeys(NUMBERS, "float64") | {"seed": "Int64"})
    return table.iloc[:-1]


def flat(table: "pd.DataFrame") -> "pd.DataFrame":
    """Runs or points with nested columns as JSON text, for any file format (see `nested`)."""
    texts = {name: [_text(value) for value in table[name]] for name in NESTED if name in table}
    return table.assign(**texts)


def nested(table: "pd.DataFrame") -> "pd.DataFrame":
    """Undo `flat` on runs or points read from a file; a nested table is returned unchanged.

    Also reads files of older versions, whose rows have fewer columns. Raises `Unreadable` for a
    record of a newer version.
    """
    if "knobs" not in table or not all(isinstance(value, str) for value in table["knobs"]):
        return table
    if "record" in table:
        return table_of(parse(text) for text in table["record"])
    values = {name: list(map(json.loads, table[name])) for name in NESTED if name in table}
    return table.assign(knobs_key=table["knobs"], **values)


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, list) else canonical_json(value)
