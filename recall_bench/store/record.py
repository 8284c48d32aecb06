"""What a run leaves behind: one record, in JSON, self-contained."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field

from recall_bench.config import Config, canonical_json, short_hash

SCHEMA = 1
"""Version of the record's layout; readers skip what is newer."""

Status = Literal["finished", "diverged", "failed"]


class SegmentScore(Config):
    """Accuracy over the queries of one segment."""

    split: Literal["validation", "test"]
    length: int
    options: dict[str, int | float] = Field(
        description="the other fields of the segment, e.g. pairs"
    )
    examples: int
    accuracy: float = Field(description="mean over queries, each example weighing the same")
    loss: float = Field(description="mean cross-entropy a query, nats")
    exact_match: float | None = Field(
        None, description="answers with every token right, each example weighing the same"
    )
    chance: float | None = Field(None, description="accuracy of a guess without the context")
    ceiling: float | None = Field(None, description="accuracy that no model can beat")
    window_ceiling: float | None = Field(
        None, description="accuracy that no stack of these windows can beat, where it is known"
    )


class SliceScore(Config):
    """Accuracy over the test queries that share one value of a slice."""

    name: str
    value: int
    queries: int
    accuracy: float
    loss: float | None = Field(None, description="mean cross-entropy a query, nats")


class GenerationSlice(Config):
    """`contains` over the test prompts that share one value of a slice."""

    name: str
    value: int
    prompts: int
    contains: float


class GeneratedText(Config):
    """What a model said where something else, or the same, was to be said."""

    answer: str
    generated: str


class GenerationScore(Config):
    """Test prompts continued greedily through the recurrent step, one segment."""

    length: int
    options: dict[str, int | float]
    prompts: int
    contains: float = Field(description="continuations that hold the answer, in any case")
    exact: float = Field(description="continuations that are the answer, in any case")
    slices: list[GenerationSlice] = []
    samples: list[GeneratedText] = []


class CurvePoint(Config):
    """One epoch of training."""

    epoch: int
    step: int
    learning_rate: float
    train_loss: float
    validation_accuracy: float
    validation_loss: float
    seconds: float = Field(description="training time so far, over all attempts")


class LayerState(Config):
    """Bytes that one layer carries from token to token."""

    layer: str = Field(description="position and architecture, such as '1.taylor-attention'")
    bytes: int | None = Field(description="None where neither measured nor stated")
    measured: bool = Field(True, description="whether from tensors, not as the author states them")
    dtype: str | None = Field(None, description="floating-point types of the tensors")


class Memory(Config):
    """Measured sizes, for one sequence."""

    state_bytes: int | None = Field(description="None where a layer's are not known")
    state_length: int = Field(description="tokens decoded before the state was measured")
    state_dtype: str
    layers: list[LayerState]
    parameters: int
    peak_bytes: int | None = Field(
        description="peak device memory while training, or peak resident"
    )


class Timing(Config):
    """Where the time went."""

    wall_seconds: float
    train_seconds: float
    evaluation_seconds: float
    data_seconds: float
    steps: int
    tokens_per_second: float
    resumed: int = Field(description="how often the run was cut off and continued")


class Record(Config):
    """A run's outcome; a diverged or failed run is a record too, with its reason."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: int = SCHEMA
    run_id: str
    status: Status
    reason: str | None = None
    config: dict[str, Any] = Field(description="the RunConfig, serialised")
    versions: dict[str, int] = Field(description="of the task and the architecture")
    data_hash: dict[str, str] = Field(default_factory=dict, description="by split")
    validation_accuracy: float | None = None
    test_accuracy: float | None = Field(None, description="mean over the test segments")
    test_loss: float | None = None
    segments: list[SegmentScore] = []
    slices: list[SliceScore] = []
    generation: list[GenerationScore] = []
    data: dict[str, Any] = Field(
        default_factory=dict, description="what the task found in the data that it reads"
    )
    curve: list[CurvePoint] = []
    memory: Memory | None = None
    timing: Timing | None = None
    environment: dict[str, Any] = {}
    verified: str | None = Field(
        None,
        description="what of the contract was checked before training, such as '17/17 float64 cpu'",
    )
    started: str = Field(description="UTC, ISO 8601")
    finished: str = Field(description="UTC, ISO 8601")

    @property
    def experiment(self) -> str:
        """Hash of what points must share to be compared: task, backbone and recipe."""
        return short_hash(shared(self.config, self.versions))[:8]

    def row(self) -> dict[str, Any]:
        """One flat row of the table that frontier, plots and exports read."""
        task, architecture = self.config["task"], self.config["architecture"]
        knobs = {key: value for key, value in architecture.items() if key != "name"}
        memory, timing = self.memory, self.timing
        return {
            "run_id": self.run_id,
            "status": self.status,
            "reason": self.reason,
            "experiment": self.experiment,
            "task": task["name"],
            "architecture": architecture["name"],
            "knobs": canonical_json(knobs),
            "learning_rate": self.config["training"]["learning_rate"],
            "seed": self.config["seed"],
            "validation_accuracy": self.validation_accuracy,
            "test_accuracy": self.test_accuracy,
            "test_loss": self.test_loss,
            "state_bytes": memory.state_bytes if memory else None,
            "state_dtype": memory.state_dtype if memory else None,
            "parameters": memory.parameters if memory else None,
            "wall_seconds": timing.wall_seconds if timing else None,
            "tokens_per_second": timing.tokens_per_second if timing else None,
            "segments": json.dumps([score.model_dump() for score in self.segments]),
            "task_options": canonical_json(task),
            "record": self.model_dump_json(),
        }


def shared(config: Mapping[str, Any], versions: Mapping[str, int]) -> dict[str, Any]:
    """The parts of a record's configuration and versions that make its experiment."""
    training = {k: v for k, v in config["training"].items() if k != "learning_rate"}
    return {
        "task": config["task"],
        "version": versions["task"],
        "model": config["model"],
        "training": training,
    }


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
