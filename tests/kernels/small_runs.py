"""A run of any architecture that is small enough for Triton's interpreter."""

from typing import Any

from recall_bench.config import RunConfig

KNOBS = {"rwkv": {"head_dim": 4}}


def small_run(architecture: str, **model: Any) -> RunConfig:
    """Six training rows of MQAR, width 8."""
    return RunConfig(
        task={
            "name": "mqar",
            "vocab_size": 24,
            "train": "12:2:6",
            "validation": "12:2:4",
            "test": "12:2:4",
        },
        architecture={"name": architecture, "d_model": 8, **KNOBS.get(architecture, {})},
        model=model,
    )
