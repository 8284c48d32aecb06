"""Tables of runs as a store gives them, made up."""

import pandas as pd

from recall_bench.config import run_name
from recall_bench.store.record import Memory, SegmentScore, TrainingRecord
from recall_bench.store.table import row

FIGURE_2 = [(64, 4), (64, 8), (64, 16), (128, 32), (256, 64), (512, 128), (1024, 256)]


def run(
    architecture="based",
    test=0.5,
    validation=None,
    *,
    state_bytes=1000,
    learning_rate=1e-3,
    seed=0,
    status="finished",
    vocab_size=8192,
    segments=FIGURE_2,
    version=1,
    task="mqar",
    **knobs,
):
    """One row; ``validation`` equals ``test`` unless told otherwise."""
    validation = test if validation is None else validation
    finished = status == "finished"
    config = {
        "task": {"name": task, "vocab_size": vocab_size},
        "architecture": {"name": architecture, **knobs},
        "model": {},
        "training": {"learning_rate": learning_rate},
        "seed": seed,
    }
    versions = {"task": 1, "architecture": version}
    record = TrainingRecord(
        run_id=run_name(config, versions),
        status=status,
        config=config,
        versions=versions,
        validation_accuracy=validation if finished else None,
        test_accuracy=test if finished else None,
        segments=[
            SegmentScore(
                split=split,
                length=length,
                options={"pairs": pairs},
                examples=10,
                accuracy=score,
                loss=1.0,
            )
            for split, score in (("validation", validation), ("test", test))
            for length, pairs in segments
            if finished
        ],
        memory=memory(state_bytes),
        started="2025-01-01T00:00:00Z",
        finished="2025-01-01T00:01:00Z",
    )
    return row(record)


def memory(state_bytes):
    return Memory(
        state_bytes=state_bytes,
        state_length=64,
        state_dtype="float32",
        layers=[],
        parameters=100,
        peak_bytes=None,
    )


def table(*rows):
    return pd.DataFrame(list(rows))
