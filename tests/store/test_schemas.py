"""Records of every kind and schema as JSON: what is written, and what is still read."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sweep_training import toy_record, toy_run

from recall_bench.config import WITH_DEFAULTS, RunConfig, run_name, short_hash
from recall_bench.frontier import points
from recall_bench.store.export import export, load, restore
from recall_bench.store.record import (
    CurvePoint,
    EvaluationRecord,
    EvaluationTiming,
    Memory,
    Record,
    SegmentScore,
    Timing,
    TimingRecord,
    TrainingRecord,
    evaluation_id,
    timing_id,
)
from recall_bench.store.runs import ResultStore
from recall_bench.store.schemas import Unreadable, parse, stored
from recall_bench.store.table import flat, frame

WHEN = {"started": "2025-01-01T00:00:00+00:00", "finished": "2025-01-01T00:00:01+00:00"}

SWDE, TINY = {"name": "lm-eval-swde", "examples": 3}, {"name": "tiny", "dtype": "float32"}
EVALUATION = EvaluationRecord(
    run_id=evaluation_id(SWDE, TINY, 1),
    status="finished",
    task=SWDE,
    model=TINY,
    versions={"task": 1},
    test_accuracy=0.5,
    memory=Memory(state_bytes=1280, parameters=32_000),
    timing=EvaluationTiming(
        wall_seconds=3.0, evaluation_seconds=2.0, data_seconds=0.5, tokens_per_second=134.0
    ),
    verified="unchecked",
    **WHEN,
)
TIMES = TimingRecord(
    run_id=timing_id("kernels", "recall-bench bench kernels", {}, WHEN["started"]),
    status="finished",
    bench="kernels",
    command="recall-bench bench kernels",
    rows=[{"operation": "attention", "milliseconds": 0.5}],
    **WHEN,
)


def full_training() -> TrainingRecord:
    """A training that uses every optional field of its own."""
    record = toy_record(toy_run(), accuracy=0.75)
    assert record.timing
    point = record.curve[0].model_copy(update={"auxiliary": {"balance": 0.25}})
    memory = Memory(state_bytes=1024, read_bytes=256, parameters=10, state_dtype="float32")
    timing = record.timing.model_copy(
        update={"import_seconds": 1.0, "compile_seconds": 2.0, "capture_seconds": 3.0}
    )
    return record.model_copy(
        update={
            "curve": [point],
            "memory": memory,
            "timing": timing,
            "verified": "16/16 float64 cpu",
        }
    )


def dump_of_schema_1(config: RunConfig) -> dict[str, Any]:
    """A training as schema 1 wrote it: no kind, every field said."""
    record = toy_record(config, accuracy=0.75)
    content = record.model_dump(mode="json") | {"schema_version": 1}
    content["config"] = config.model_dump(mode="json", context=WITH_DEFAULTS)
    content["config"]["model"] = config.model.model_dump(mode="json")  # its fields of that time
    content["run_id"] = run_name(content["config"], content["versions"])
    for name in ("kind", "verified", "plugin_digest", "left_out"):
        del content[name]
    for part, model, names in (
        (content["memory"], Memory, ("read_bytes",)),
        (content["timing"], Timing, ("import_seconds", "compile_seconds", "capture_seconds")),
        (content["curve"][0], CurvePoint, ("auxiliary",)),
    ):
        for name in names:
            assert name in model.model_fields
            del part[name]
    return content


def evaluation_of_schema_1() -> dict[str, Any]:
    """An evaluation as schema 1 wrote it: a training at a learning rate of zero."""
    config = {
        "task": EVALUATION.task,
        "architecture": EVALUATION.model,
        "model": {},
        "training": {"learning_rate": 0.0},
        "seed": 0,
    }
    versions = {"task": 1, "architecture": 1}
    digest = short_hash({"config": config, "versions": versions})
    timing = {"wall_seconds": 3.0, "evaluation_seconds": 2.0, "data_seconds": 0.5}
    return {
        "schema_version": 1,
        "run_id": f"lm-eval-swde-tiny-{digest}",
        "status": "finished",
        "reason": None,
        "config": config,
        "versions": versions,
        "validation_accuracy": None,
        "test_accuracy": 0.5,
        "segments": [],
        "memory": {
            "state_bytes": 1280,
            "state_length": 97,
            "state_dtype": "float32",
            "layers": [{"layer": "state.0", "bytes": 1280}],
            "parameters": 32_000,
            "peak_bytes": None,
        },
        "timing": timing
        | {"train_seconds": 0.0, "steps": 0, "tokens_per_second": 134.0, "resumed": 0},
        **WHEN,
    }


@pytest.mark.parametrize("kind", ["training", "evaluation", "timing"])
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_record_of_every_kind_survives_the_store_and_an_export(kind, suffix, tmp_path):
    records: list[Record] = [full_training(), EVALUATION, TIMES]
    (record,) = [record for record in records if record.kind == kind]
    kept = ResultStore(tmp_path / "runs")
    kept.write(record)
    assert kept.read(record.run_id) == record
    export(kept, tmp_path / f"all{suffix}")
    other = ResultStore(tmp_path / "other")
    assert restore(tmp_path / f"all{suffix}", other) == (1, 0, 0, [])
    assert other.records() == [record]
    file = Path(record.run_id, "record.json")
    assert (other.path / file).read_bytes() == (kept.path / file).read_bytes()


def test_fields_at_their_default_are_not_written_and_the_envelope_comes_first():
    written = json.loads(stored(EVALUATION).text)
    assert list(written)[:4] == ["schema_version", "kind", "run_id", "status"]
    assert "reason" not in written
    assert "slices" not in written
    assert written["memory"] == {"state_bytes": 1280, "parameters": 32_000}
    score = SegmentScore(
        split="test", length=8, options={}, examples=1, accuracy=0.5, loss=0.1, chance=0.25
    )
    record = toy_record(toy_run()).model_copy(update={"segments": [score]})
    (segment,) = json.loads(stored(record).text)["segments"]
    assert segment["chance"] == 0.25
    assert "ceiling" not in segment


def test_a_training_of_schema_1_reads_as_one_of_today():
    content = dump_of_schema_1(toy_run())
    older = {"left_out": {}, "plugin_digest": None}
    older |= {name: content[name] for name in ("run_id", "config")}
    expected = toy_record(toy_run(), accuracy=0.75).model_copy(update=older)
    assert parse(json.dumps(content)).record == expected


def test_an_evaluation_of_schema_1_is_told_from_a_training():
    record = parse(json.dumps(evaluation_of_schema_1())).record
    assert isinstance(record, EvaluationRecord)
    assert (record.task, record.model, record.timing) == (
        EVALUATION.task,
        EVALUATION.model,
        EVALUATION.timing,
    )
    assert record.versions == {"task": 1}
    assert record.experiment == EVALUATION.experiment


def test_evaluations_of_both_schemas_are_points_of_one_experiment():
    name = evaluation_id(SWDE, {"name": "other"}, 1)
    new = EVALUATION.model_copy(update={"run_id": name, "model": {"name": "other"}})
    table = points(frame([parse(json.dumps(evaluation_of_schema_1())).record, new]))
    assert table["experiment"].nunique() == 1
    assert table["architecture"].tolist() == ["other", "tiny"]
    assert table["learning_rate"].isna().all()
    assert table["seeds"].tolist() == [1, 1]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_record_of_schema_1_stays_one_through_import_and_export(suffix, tmp_path):
    contents = [dump_of_schema_1(toy_run()), evaluation_of_schema_1()]
    lines = sorted(
        json.dumps(content, separators=(",", ":"), ensure_ascii=False) for content in contents
    )
    (tmp_path / "old.jsonl").write_text("".join(f"{line}\n" for line in lines))
    kept = ResultStore(tmp_path / "runs")
    assert restore(tmp_path / "old.jsonl", kept) == (2, 0, 0, [])
    for content in contents:
        file = kept.directory(content["run_id"]) / "record.json"
        assert json.loads(file.read_text()) == content
    export(kept, tmp_path / f"new{suffix}")
    table, skipped = load(tmp_path / f"new{suffix}")
    assert skipped == []
    assert sorted(table["record"]) == lines


def test_a_record_of_schema_1_must_have_the_name_that_follows_from_its_configuration():
    content = dump_of_schema_1(toy_run())
    content["config"]["seed"] = 5
    with pytest.raises(Unreadable, match="does not follow from its configuration"):
        parse(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema_version": 3}, "its schema is 3, this version reads up to 2"),
        ({"schema_version": 3, "kind": "dream"}, "written by a newer recall-bench"),
        ({"kind": "dream"}, "kind: "),
        ({"task": None}, "task: "),
    ],
)
def test_what_cannot_be_read_says_why(change, reason):
    content = json.loads(stored(EVALUATION).text) | change
    with pytest.raises(Unreadable, match=reason):
        parse(json.dumps(content))
    with pytest.raises(Unreadable, match="schema_version: "):
        parse("{}")


def test_a_table_that_an_older_version_exported_gives_the_same_points(tmp_path):
    """Pandas alone reads its file: JSON text, and fewer columns than today's."""
    records: list[Record] = [toy_record(toy_run(seed, 1e-2), accuracy=0.75) for seed in range(2)]
    table = frame([*records, toy_record(toy_run(2, 1e-2), "failed")])
    older = flat(table)[[name for name in OLDER if name in table]]
    older["record"] = [json.dumps(dump_of_schema_1(toy_run(seed, 1e-2))) for seed in range(3)]
    older.to_parquet(tmp_path / "older.parquet")
    again = points(pd.read_parquet(tmp_path / "older.parquet"))
    knobs = points(table)["knobs"].tolist()
    assert [{**point, "code": toy_run().plugin_digest} for point in again["knobs"]] == knobs
    assert again["experiment"].tolist() == points(table)["experiment"].tolist()
    assert again["test_accuracies"].tolist() == [[0.75, 0.75, 0.75]]


OLDER = [
    "run_id",
    "status",
    "reason",
    "experiment",
    "task",
    "architecture",
    "knobs",
    "learning_rate",
    "seed",
    "validation_accuracy",
    "test_accuracy",
    "test_loss",
    "state_bytes",
    "state_dtype",
    "parameters",
    "wall_seconds",
    "tokens_per_second",
    "segments",
    "task_options",
    "record",
]
"""The columns of a table of schema 1."""


def test_records_of_times_are_kept_in_the_table_and_make_no_points():
    table = frame([toy_record(toy_run()), TIMES, EVALUATION])
    assert sorted(table["kind"]) == ["evaluation", "timing", "training"]
    assert set(points(table)["architecture"]) == {"toy-mixer", "tiny"}
    assert points(frame([TIMES])).empty
