"""Records of trainings, of evaluations of existing models, and of timings; self-contained JSON.

The three kinds share an envelope (`Record`); each adds fields of its own.
"""

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from recall_bench.config import LARGEST, Config, RunConfig, merged, short_hash

SCHEMA = 2
"""Version of the record's layout; readers skip newer ones (see `recall_bench.store.schemas`)."""

Status = Literal["finished", "diverged", "failed"]
Kind = Literal["training", "evaluation", "timing"]

Share = Annotated[float, Field(ge=0, le=1 + 1e-6, allow_inf_nan=False)]
"""A part of a whole; a mean of ones may exceed one by rounding."""
Count = Annotated[int, Field(ge=0, le=LARGEST)]
Whole = Annotated[int, Field(ge=-LARGEST, le=LARGEST)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Options = dict[str, Whole | Number]
"""The fields of a segment beside its length and its number of examples."""


class SegmentScore(Config):
    """Accuracy over the queries of one segment."""

    split: Literal["validation", "test"]
    length: Count
    options: Options = Field(description="the other fields of the segment, e.g. pairs")
    examples: Count
    accuracy: Share = Field(description="mean over queries; all examples have the same weight")
    loss: float = Field(description="mean cross-entropy per query, nats")
    exact_match: Share | None = Field(
        None, description="share of answers with every token right; all examples weigh the same"
    )
    chance: Share | None = Field(None, description="accuracy of the best guess without the context")
    ceiling: Share | None = Field(None, description="accuracy that no model can beat")
    window_ceiling: Share | None = Field(
        None, description="accuracy that no stack of these windows can beat, where it is known"
    )


class SliceScore(Config):
    """Accuracy over the test queries that share one value of a slice."""

    name: str
    value: Whole
    queries: Count
    accuracy: Share
    loss: float | None = Field(None, description="mean cross-entropy per query, nats")


class GenerationSlice(Config):
    """`contains` over the test prompts that share one value of a slice."""

    name: str
    value: Whole
    prompts: Count
    contains: Share


class GeneratedText(Config):
    """A continuation that a model generated, and the answer that was expected."""

    answer: str
    generated: str


class GenerationScore(Config):
    """Scores of one segment's test prompts, continued greedily through the recurrent step."""

    length: Count
    options: Options
    prompts: Count
    contains: Share = Field(
        description="share of continuations that contain the answer, ignoring case"
    )
    exact: Share = Field(description="share of continuations that equal the answer, ignoring case")
    slices: list[GenerationSlice] = Field(default_factory=list)
    samples: list[GeneratedText] = Field(default_factory=list)


class CurvePoint(Config):
    """One epoch of training."""

    epoch: Count
    step: Count
    learning_rate: float
    train_loss: float
    validation_accuracy: float
    validation_loss: float
    seconds: float = Field(description="training time so far, over all attempts")
    auxiliary: dict[str, float] = Field(
        default_factory=dict, description="mean of each loss that a mixer adds to the objective"
    )


class LayerState(Config):
    """Bytes that one layer carries from token to token."""

    layer: str = Field(description="position and architecture, such as '1.taylor-attention'")
    bytes: Count | None = Field(description="None if neither measured nor stated")
    measured: bool = Field(True, description="True: from tensors; False: as the author states")
    dtype: str | None = Field(None, description="floating-point types of the tensors")


class Memory(Config):
    """Sizes for one sequence; those of the state are None if it was not measured."""

    state_bytes: Count | None = Field(None, description="bytes kept between two tokens")
    read_bytes: Count | None = Field(None, description="the part of them that one step reads")
    state_length: Count | None = Field(
        None, description="tokens decoded before the state was measured"
    )
    state_dtype: str | None = None
    layers: list[LayerState] = Field(default_factory=list)
    parameters: Count
    peak_bytes: Count | None = Field(
        None, description="peak device memory while training; on a CPU, peak resident memory"
    )


class Timing(Config):
    """The seconds that each part of a training took."""

    wall_seconds: Number
    train_seconds: Number
    evaluation_seconds: Number
    data_seconds: Number
    import_seconds: Number | None = Field(
        None, description="from the start of the process to the first run; not in wall_seconds"
    )
    setup_seconds: Number | None = Field(
        None, description="building the model, and reading and writing checkpoints"
    )
    compile_seconds: Number | None = Field(None, description="compiling kernels")
    capture_seconds: Number | None = Field(None, description="capturing CUDA graphs")
    steps: Count
    tokens_per_second: Number
    resumed: Count = Field(description="times the run was interrupted and continued")


class EvaluationTiming(Config):
    """The seconds that each part of an evaluation took."""

    wall_seconds: Number
    evaluation_seconds: Number
    data_seconds: Number
    tokens_per_second: Number = Field(description="of the prompts")


class Record(Config):
    """The envelope of every record; ``reason`` says why a run diverged or failed."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: int = SCHEMA
    kind: Kind
    run_id: str
    status: Status
    reason: str | None = None
    versions: dict[str, int] = Field(
        default_factory=dict, description="of the task and the architecture"
    )
    environment: dict[str, Any] = Field(default_factory=dict)
    started: str = Field(description="UTC, ISO 8601")
    finished: str = Field(description="UTC, ISO 8601")


class ScoredRecord(Record):
    """A training or an evaluation; the points of a frontier are made of these."""

    data_hash: dict[str, str] = Field(default_factory=dict, description="by split")
    test_accuracy: Share | None = Field(None, description="mean over the test segments")
    slices: list[SliceScore] = Field(default_factory=list)
    memory: Memory | None = None
    verified: str | None = Field(
        None, description="checks that the mixer passed, as '16/16 float64 cpu', or 'unchecked'"
    )

    @property
    def shared(self) -> dict[str, Any]:
        """The parts that comparable points share: task, version, model and training."""
        raise NotImplementedError

    @property
    def experiment(self) -> str:
        """Hash of `shared`."""
        return short_hash(self.shared)[:8]


class TrainingRecord(ScoredRecord):
    """The outcome of one training."""

    kind: Literal["training"] = "training"
    config: dict[str, Any] = Field(description="the RunConfig, as the run id hashes it")
    left_out: dict[str, Any] = Field(
        default_factory=dict, description="options at their default that ``config`` leaves out"
    )
    plugin_digest: str | None = Field(
        None, description="SHA-256, 16 digits, of the source of the plugins that the run used"
    )
    validation_accuracy: Share | None = None
    test_loss: float | None = None
    segments: list[SegmentScore] = Field(default_factory=list)
    generation: list[GenerationScore] = Field(default_factory=list)
    data: dict[str, Any] = Field(
        default_factory=dict, description="counts and warnings from loading the task's data"
    )
    curve: list[CurvePoint] = Field(default_factory=list)
    timing: Timing | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The configuration with every option that the record holds."""
        return merged(self.config, self.left_out)

    @property
    def late_fall(self) -> float | None:
        """See `late_fall`; None unless the run finished and has a curve."""
        if self.status != "finished":
            return None
        losses = [point.validation_loss for point in self.curve]
        return late_fall(losses, self.config["training"].get("epochs"))

    @property
    def shared(self) -> dict[str, Any]:
        training = {k: v for k, v in self.config["training"].items() if k != "learning_rate"}
        return {
            "task": self.config["task"],
            "version": self.versions["task"],
            "model": self.config["model"],
            "training": training,
        }


class EvaluationRecord(ScoredRecord):
    """The score of an existing model on one task."""

    kind: Literal["evaluation"] = "evaluation"
    task: dict[str, Any] = Field(description="name and options")
    model: dict[str, Any] = Field(
        description="name, and settings that distinguish models of that name"
    )
    timing: EvaluationTiming | None = None

    @property
    def shared(self) -> dict[str, Any]:
        # There is no backbone and no recipe: all models are comparable on one task.
        return {"task": self.task, "version": self.versions["task"], "model": {}, "training": {}}


class TimingRecord(Record):
    """The times that a benchmark measured."""

    kind: Literal["timing"] = "timing"
    bench: str = Field(description="name of the benchmark in `recall-bench bench`")
    command: str = Field(description="the command line that measured it")
    machine: dict[str, Any] = Field(
        default_factory=dict, description="measured speeds of this machine, for the floors"
    )
    rows: list[dict[str, Any]] = Field(
        default_factory=list, description="the measurements; columns depend on the benchmark"
    )


def named(config: RunConfig) -> dict[str, Any]:
    """The fields of a `TrainingRecord` that say which run it is."""
    return {
        "run_id": config.run_id,
        "config": config.model_dump(mode="json"),
        "left_out": config.left_out(),
        "versions": config.versions,
        "plugin_digest": config.plugin_digest,
    }


def evaluation_id(task: dict[str, Any], model: dict[str, Any], task_version: int) -> str:
    """The run id of an `EvaluationRecord`, whose hash covers the task and the model."""
    config = {
        "task": task,
        "architecture": model,
        "model": {},
        "training": {"learning_rate": 0.0},
        "seed": 0,
    }
    digest = short_hash({"config": config, "versions": {"task": task_version, "architecture": 1}})
    return f"{task['name']}-{plain_name(model['name'])}-{digest}"


def timing_id(bench: str, command: str, environment: dict[str, Any], started: str) -> str:
    """The run id of a `TimingRecord`."""
    return f"bench-{bench}-{short_hash([command, environment, started])}"


def plain_name(name: str) -> str:
    """The name of a model without what file names cannot hold."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.")


def late_fall(losses: Sequence[float], epochs: Any) -> float | None:
    """By how many nats the validation loss fell in the last quarter of the epochs.

    ``losses`` has one value per epoch. 0 if training ended early, since such a run had reached its
    goal; negative if the loss rose; None for a single epoch, which has nothing to compare.
    """
    if not isinstance(epochs, int) or not losses:
        return None
    if len(losses) < epochs:
        return 0.0
    quarter = math.ceil(epochs / 4)
    return losses[-1 - quarter] - losses[-1] if len(losses) > quarter else None


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
