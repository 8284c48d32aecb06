"""The result store: one directory per run, whose record is written last."""

from recall_bench.store.export import export, load, restore
from recall_bench.store.record import EvaluationRecord, Record, TimingRecord, TrainingRecord
from recall_bench.store.runs import ResultStore

__all__ = [
    "EvaluationRecord",
    "Record",
    "ResultStore",
    "TimingRecord",
    "TrainingRecord",
    "export",
    "load",
    "restore",
]
