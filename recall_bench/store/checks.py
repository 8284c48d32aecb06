"""Checks on what a record says before anybody relies on it: its name, its options, its numbers.

Records come from anywhere: other people's exports, older versions, damaged disks. Every reader goes
through `check`, so that reports and figures meet only plain values of the expected types.
"""

import math
import unicodedata
from collections.abc import Mapping
from typing import Any

from recall_bench.config import LARGEST, run_name
from recall_bench.store.record import (
    EvaluationRecord,
    Record,
    TimingRecord,
    TrainingRecord,
    evaluation_id,
    timing_id,
)

LONGEST_NAME = 100
LONGEST_TEXT = 100_000
"""Characters in an option; the text of 512 layers with knobs has some thousands."""
DEEPEST = 8
"""Nesting of options within options."""


class Misnamed(Exception):
    """A record that nobody may rely on; the message says why."""


def check(record: Record) -> None:
    """Raise `Misnamed` unless the name follows from the content and every option is plain."""
    _check_text("run_id", record.run_id)
    if isinstance(record, TrainingRecord):
        _check_configuration(record)
        expected = run_name(record.config, record.versions, record.plugin_digest)
    elif isinstance(record, EvaluationRecord):
        for section, value in (("task", record.task), ("model", record.model)):
            _check_plain(section, value)
            _check_name(section, value, slashes=section == "model")
        _check_version(record.versions, "task")
        expected = evaluation_id(record.task, record.model, record.versions["task"])
    elif isinstance(record, TimingRecord):
        expected = timing_id(record.bench, record.command, record.environment, record.started)
    else:
        raise AssertionError(f"no rule for the name of a {record.kind}")
    if record.run_id != expected:
        raise Misnamed(
            f"its name '{record.run_id[:200]}' does not follow from its configuration: "
            f"expected '{expected[:200]}'"
        )
    if not _is_file_name(expected):
        raise Misnamed(f"its name '{expected[:200]}' is no file name")


def _check_configuration(record: TrainingRecord) -> None:
    _check_plain("config", record.config)
    _check_plain("left_out", record.left_out)
    for section in ("task", "architecture", "model", "training"):
        if not isinstance(record.config.get(section), dict):
            got = _shown(record.config, section)
            raise Misnamed(f"config.{section}: expected options, got {got}")
        if not isinstance(record.left_out.get(section, {}), dict):
            raise Misnamed(f"left_out.{section}: expected options")
    for section in ("task", "architecture"):
        _check_name(f"config.{section}", record.config[section])
        _check_version(record.versions, section)
    training = record.config["training"]
    for name in ("learning_rate", "weight_decay"):
        rate = training.get(name, 0.0 if name == "weight_decay" else None)
        if not _is_number(rate) or rate < 0:
            raise Misnamed(
                f"config.training.{name}: expected a number from 0, got {_shown(training, name)}"
            )
    seed = record.config.get("seed")
    if type(seed) is not int or not 0 <= seed <= LARGEST:
        raise Misnamed(f"config.seed: expected a whole number, got {_shown(record.config, 'seed')}")
    vocabulary = record.config["task"].get("vocab_size", 1)
    if vocabulary is not None and (type(vocabulary) is not int or vocabulary < 1):
        raise Misnamed("config.task.vocab_size: expected a whole number")
    if record.status == "finished" and (
        record.test_accuracy is None or record.validation_accuracy is None
    ):
        raise Misnamed("finished, but without accuracies of validation and test")


def _check_plain(where: str, value: Any, depth: int = 0) -> None:
    """Refuse values that no option has."""
    if depth > DEEPEST:
        raise Misnamed(f"{where}: nested more than {DEEPEST} levels deep")
    if isinstance(value, dict):
        for name, part in value.items():
            _check_text(where, name)
            _check_plain(f"{where}.{name[:LONGEST_NAME]}", part, depth + 1)
    elif isinstance(value, list):
        for part in value:
            _check_plain(where, part, depth + 1)
    elif isinstance(value, str):
        _check_text(where, value)
    elif value is not None and not isinstance(value, bool) and not _is_number(value):
        raise Misnamed(f"{where}: expected a finite number below 2^63")


def _check_text(where: str, text: str) -> None:
    if len(text) > LONGEST_TEXT or any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
        raise Misnamed(f"{where}: expected at most {LONGEST_TEXT} characters, none for control")


def _check_name(where: str, options: Mapping[str, Any], slashes: bool = False) -> None:
    name = options.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME * (1 + slashes):
        raise Misnamed(f"{where}.name: expected a name of at most {LONGEST_NAME} characters")
    if not slashes and not _is_file_name(name):
        raise Misnamed(f"{where}.name: expected a name without slashes, got {name!r}")


def _check_version(versions: Mapping[str, int], name: str) -> None:
    if not 0 <= versions.get(name, -1) <= LARGEST:
        raise Misnamed(f"versions.{name}: expected a whole number")


def _is_file_name(name: str) -> bool:
    """Whether a name stays within its folder on every system."""
    return (
        name.isprintable()
        and not name.startswith(".")
        and not set(name) & set("/\\:")
        and len(name.encode()) <= 255
    )


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= LARGEST if isinstance(value, int) else math.isfinite(value)


def _shown(options: Mapping[str, Any], name: str) -> str:
    return repr(options.get(name))[:80]
