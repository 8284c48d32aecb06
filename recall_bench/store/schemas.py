"""Records as JSON: written in the newest layout, read in every layout so far.

Schema 1 has only trainings; it stores an evaluation as a training with a learning rate of zero. A
record keeps the JSON that it was read from, so that exports and imports leave its schema as it is.
"""

import codecs
from typing import Any, NamedTuple

from pydantic import ConfigDict, ValidationError
from pydantic_core import from_json, to_json

from recall_bench.config import Config
from recall_bench.store.checks import Misnamed, check
from recall_bench.store.record import (
    SCHEMA,
    EvaluationRecord,
    EvaluationTiming,
    Kind,
    Record,
    TimingRecord,
    TrainingRecord,
)

KINDS: dict[Kind, type[Record]] = {
    "training": TrainingRecord,
    "evaluation": EvaluationRecord,
    "timing": TimingRecord,
}


LATER = ("left_out", "plugin_digest")
"""Fields of trainings that schema 1 did not have."""


class Unreadable(Exception):
    """A record that this version cannot read; the message says why."""


class Stored(NamedTuple):
    """A record and its stored JSON, on one line."""

    record: Record
    text: str


class _Head(Config):
    """The first fields of every schema from 2 on; schema 1 has no kinds."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: int
    kind: Kind = "training"


def stored(record: Record) -> Stored:
    """A record with its JSON, which omits fields that equal their default."""
    head = {"schema_version": record.schema_version, "kind": record.kind}
    content = head | record.model_dump(mode="json", exclude_defaults=True)
    return Stored(record, to_json(content, inf_nan_mode="constants").decode())


def parse(text: str | bytes) -> Stored:
    """Read a record from JSON of any schema so far; raises `Unreadable` with the reason.

    Believes nothing unchecked: the types and ranges of what readers use, and that the record's name
    follows from its content (`recall_bench.store.checks`).
    """
    if isinstance(text, bytes):
        text = text.removeprefix(codecs.BOM_UTF8)
    try:
        content = from_json(text)
    except (TypeError, ValueError) as error:
        raise Unreadable(f"Invalid JSON: {error}") from error
    try:
        # Check this before the kind, since a newer schema may have other kinds.
        version = content.get("schema_version") if isinstance(content, dict) else None
        if isinstance(version, int) and version > SCHEMA:
            raise Unreadable(
                f"written by a newer recall-bench: its schema is {version}, "
                f"this version reads up to {SCHEMA}"
            )
        head = _Head.model_validate(content)
        current = _from_schema_1(content) if head.schema_version == 1 else content
        record = KINDS[current.get("kind", "training")].model_validate(current)
        check(record)
        return Stored(record, _one_line(text, content))
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise Unreadable(f"{where}: {problem['msg']}".removeprefix(": ")) from error
    except Misnamed as error:
        raise Unreadable(str(error)) from error
    except (ValueError, RecursionError) as error:  # text or numbers that cannot be hashed
        raise Unreadable(f"{type(error).__name__}: {error}") from error


def pretty(text: str) -> bytes:
    """The content of a record's own file: its JSON with one value per line."""
    return to_json(from_json(text), indent=1, inf_nan_mode="constants") + b"\n"


def _one_line(text: str | bytes, content: Any) -> str:
    line = text if isinstance(text, str) else text.decode()
    if "\n" in line:  # not within a value, where JSON escapes it
        return to_json(content, inf_nan_mode="constants").decode()
    return line


def _from_schema_1(content: dict[str, Any]) -> dict[str, Any]:
    """The record in the newest layout."""
    config, versions = content.get("config"), content.get("versions")
    current = {name: value for name, value in content.items() if name not in LATER}
    current |= {"schema_version": SCHEMA, "kind": "training"}
    if not isinstance(config, dict) or not isinstance(versions, dict):
        return current  # validation refuses it
    if config.get("training") != {"learning_rate": 0.0}:
        return current
    del current["config"]
    timing = content.get("timing")
    if isinstance(timing, dict):  # an evaluation has neither steps nor training time
        timing = {k: v for k, v in timing.items() if k in EvaluationTiming.model_fields}
    return current | {
        "kind": "evaluation",
        "task": config.get("task"),
        "model": config.get("architecture"),
        "versions": {"task": versions.get("task")},
        "timing": timing,
    }
