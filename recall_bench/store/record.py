"""What computations leave behind: records of three kinds, in JSON, each self-contained.

A training, an evaluation of a model that exists already, and the times of a benchmark share an
envelope (`Record`) and have beside it what each of them really has.
"""

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field

from recall_bench.config import Config, short_hash

SCHEMA = 2
"""Version of the record's layout; readers skip what is newer (see `recall_bench.store.schemas`)."""

Status = Literal["finished", "diverged", "failed"]
Kind = Literal["training", "evaluation", "timing"]


class SegmentScore(Config):
    """Accuracy over the queries of one segment."""

    split: Literal["validation", "test"]
    length: int
    options: dict[str, int | float] = Field(
        description="the other fields of the segment, e.g. pairs"
    )
    examples: int
    accuracy: float = Field(description="mean over queries, each example weighing the same")
    loss: float = Field(description="mean cross-entropy per query, nats")
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
    loss: float | None = Field(None, description="mean cross-entropy per query, nats")


class GenerationSlice(Config):
    """`contains` over the test prompts that share one value of a slice."""

    name: str
    value: int
    prompts: int
    contains: float


class GeneratedText(Config):
    """A continuation that a model generated, and the answer that was expected."""

    answer: str
    generated: str


class GenerationScore(Config):
    """Test prompts continued greedily through the recurrent step, one segment."""

    length: int
    options: dict[str, int | float]
    prompts: int
    contains: float = Field(description="continuations that hold the answer, in any case")
    exact: float = Field(description="continuations that are the answer, in any case")
    slices: list[GenerationSlice] = Field(default_factory=list)
    samples: list[GeneratedText] = Field(default_factory=list)


class CurvePoint(Config):
    """One epoch of training."""

    epoch: int
    step: int
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
    bytes: int | None = Field(description="None where neither measured nor stated")
    measured: bool = Field(True, description="whether from tensors, not as the author states them")
    dtype: str | None = Field(None, description="floating-point types of the tensors")


class Memory(Config):
    """Sizes, for one sequence; those of the state are None where it was not measured."""

    state_bytes: int | None = Field(None, description="bytes kept between two tokens")
    read_bytes: int | None = Field(None, description="of those, the bytes that one step reads")
    state_length: int | None = Field(
        None, description="tokens decoded before the state was measured"
    )
    state_dtype: str | None = None
    layers: list[LayerState] = Field(default_factory=list)
    parameters: int
    peak_bytes: int | None = Field(
        None, description="peak device memory while training, or peak resident"
    )


class Timing(Config):
    """The seconds that each part of a training took."""

    wall_seconds: float
    train_seconds: float
    evaluation_seconds: float
    data_seconds: float
    import_seconds: float | None = Field(None, description="importing modules")
    compile_seconds: float | None = Field(None, description="compiling kernels")
    capture_seconds: float | None = Field(None, description="capturing CUDA graphs")
    steps: int
    tokens_per_second: float
    resumed: int = Field(description="how often the run was cut off and continued")


class EvaluationTiming(Config):
    """The seconds that each part of an evaluation took."""

    wall_seconds: float
    evaluation_seconds: float
    data_seconds: float
    tokens_per_second: float = Field(description="of the prompts")


class Record(Config):
    """The envelope of every record; one that diverged or failed gives its reason."""

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
    """A training or an evaluation: a run of the table that points are made of."""

    data_hash: dict[str, str] = Field(default_factory=dict, description="by split")
    test_accuracy: float | None = Field(None, description="mean over the test segments")
    slices: list[SliceScore] = Field(default_factory=list)
    memory: Memory | None = None
    verified: str | None = Field(
        None, description="checks that the mixer passed, as '16/16 float64 cpu', or 'unchecked'"
    )

    @property
    def shared(self) -> dict[str, Any]:
        """What points must share to be compared: ``task``, ``version``, ``model``, ``training``."""
        raise NotImplementedError

    @property
    def experiment(self) -> str:
        """Hash of `shared`."""
        return short_hash(self.shared)[:8]


class TrainingRecord(ScoredRecord):
    """The outcome of one training."""

    kind: Literal["training"] = "training"
    config: dict[str, Any] = Field(description="the RunConfig, serialised")
    plugin_digest: str | None = Field(
        None, description="SHA-256, 16 digits, of the source of a plugin that defines the mixer"
    )
    validation_accuracy: float | None = None
    test_loss: float | None = None
    segments: list[SegmentScore] = Field(default_factory=list)
    generation: list[GenerationScore] = Field(default_factory=list)
    data: dict[str, Any] = Field(
        default_factory=dict, description="what the task found in the data that it reads"
    )
    curve: list[CurvePoint] = Field(default_factory=list)
    timing: Timing | None = None

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
    """The score of a model that exists already on one task."""

    kind: Literal["evaluation"] = "evaluation"
    task: dict[str, Any] = Field(description="name and options")
    model: dict[str, Any] = Field(description="name, and what tells it from others of that name")
    timing: EvaluationTiming | None = None

    @property
    def shared(self) -> dict[str, Any]:
        # No backbone and no recipe: all models on one task compare.
        return {"task": self.task, "version": self.versions["task"], "model": {}, "training": {}}


class TimingRecord(Record):
    """The times that a benchmark measured."""

    kind: Literal["timing"] = "timing"
    bench: str = Field(description="which benchmark, as `recall-bench bench` names it")
    command: str = Field(description="the command line that measured it")
    machine: dict[str, Any] = Field(
        default_factory=dict, description="speeds of this machine that floors rest on"
    )
    rows: list[dict[str, Any]] = Field(
        default_factory=list, description="what was measured, as the benchmark says"
    )


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
