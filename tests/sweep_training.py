"""Runs and records for tests of the store and of sweeps, made without any training."""

from pathlib import Path
from typing import Any

from recall_bench.config import RunConfig, TrainingConfig
from recall_bench.record import CurvePoint, LayerState, Memory, Record, Status, Timing
from recall_bench.registry import load_plugin

PLUGIN = Path(__file__).with_name("sweep_plugin.py")


def toy_run(seed: int = 0, learning_rate: float = 1e-3, **knobs: Any) -> RunConfig:
    load_plugin(PLUGIN)
    return RunConfig(
        task={"name": "toy"},
        architecture={"name": "toy-mixer", **knobs},
        training=TrainingConfig(learning_rate=learning_rate),
        seed=seed,
    )


def toy_record(config: RunConfig, status: Status = "finished", accuracy: float = 0.5) -> Record:
    memory = Memory(
        state_bytes=1024,
        state_length=8,
        state_dtype="float32",
        layers=[LayerState(layer="0.toy-mixer", bytes=1024)],
        parameters=10,
        peak_bytes=None,
    )
    timing = Timing(
        wall_seconds=1.5,
        train_seconds=1.0,
        evaluation_seconds=0.25,
        data_seconds=0.25,
        steps=4,
        tokens_per_second=32.0,
        resumed=0,
    )
    curve = CurvePoint(
        epoch=1,
        step=4,
        learning_rate=1e-3,
        train_loss=0.1 + 0.2,
        validation_accuracy=accuracy,
        validation_loss=1 / 3,
        seconds=1.0,
    )
    succeeded = status == "finished"
    return Record(
        run_id=config.run_id,
        status=status,
        reason=None if succeeded else "for the test",
        config=config.model_dump(mode="json"),
        versions={"task": 1, "architecture": 1},
        validation_accuracy=accuracy if succeeded else None,
        test_accuracy=accuracy if succeeded else None,
        test_loss=1 / 3 if succeeded else None,
        curve=[curve],
        memory=memory if succeeded else None,
        timing=timing if succeeded else None,
        environment={"note": "π and a\nline break"},
        started="2024-01-01T00:00:00+00:00",
        finished="2024-01-01T00:00:01+00:00",
    )
