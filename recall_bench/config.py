"""The frozen configuration of a run, its canonical JSON, and the run id made from it."""

import hashlib
import json
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from recall_bench import registry
from recall_bench.errors import UserError, nearest

Precision = Literal["fp32", "tf32", "bf16"]


class Config(BaseModel):
    """Base of all configurations: frozen, and refuses unknown fields."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, ser_json_inf_nan="constants"
    )


class Component(Config):
    """A registered task or architecture: its fields are its options."""

    model_config = ConfigDict(allow_inf_nan=False)

    name: ClassVar[str] = ""
    alias: ClassVar[str] = ""
    """A second name, accepted everywhere; records and run ids hold ``name``."""
    version: ClassVar[int] = 1

    @model_serializer(mode="wrap")
    def _with_name(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"name": self.name, **handler(self)}


def build(kind: registry.Registry, value: Any) -> Any:
    """A component from its serialised form ``{"name": …, field: …}``; components pass through.

    Raises `UserError` for an unknown name or field and for a value out of range.
    """
    if not isinstance(value, dict):
        return value
    fields = dict(value)
    name = fields.pop("name", None)
    if not isinstance(name, str):
        raise UserError(f"A {kind.kind} needs a name. {nearest('', kind.names())}")
    cls = kind.get(name)
    try:
        return cls(**fields)
    except ValidationError as error:
        raise UserError(f"{kind.kind} '{name}': {explain(error, cls)}") from error


def explain(error: ValidationError, cls: type[BaseModel]) -> str:
    """The refusals of a pydantic model in one line, with the nearest valid field names."""
    lines = []
    for problem in error.errors(include_url=False):
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(f"unknown option '{where}'. {nearest(where, cls.model_fields)}")
        elif problem["type"] == "value_error":
            message = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{where}: {message}" if where else message)
        else:
            lines.append(f"{where}: {problem['msg']}. Got {problem['input']!r}")
    return "; ".join(lines)


class ModelConfig(Config):
    """The backbone around the mixers (see `recall_bench.model.backbone`)."""

    model_config = ConfigDict(allow_inf_nan=False)

    mlp_ratio: float = Field(
        0.0, ge=0, description="MLP width divided by model width; 0 leaves the MLP out"
    )
    norm: Literal["layernorm", "rmsnorm"] = Field(
        "layernorm", description="normalisation before each layer"
    )
    embedding_dropout: float = Field(0.1, ge=0, lt=1, description="dropout on the embeddings")


class TrainingConfig(Config):
    """The recipe; the defaults are those of Figure 2 of the Based paper (2402.18668)."""

    model_config = ConfigDict(allow_inf_nan=False)

    epochs: int = Field(32, ge=1, description="passes over the training segments")
    batch_size: int = Field(256, ge=1, description="training examples per step")
    evaluation_batch_size: int = Field(256, ge=1, description="examples per step in evaluation")
    learning_rate: float = Field(1e-3, gt=0, description="peak learning rate")
    weight_decay: float = Field(0.1, ge=0, description="AdamW weight decay")
    gradient_clip: float | None = Field(None, gt=0, description="largest gradient norm")
    order: Literal["segments", "interleaved"] = Field(
        "segments",
        description="segments one after another, as published, or with their batches interleaved",
    )
    early_stop: float | None = Field(
        0.99, gt=0, le=1, description="stop once validation accuracy exceeds this"
    )
    precision: Precision = Field("fp32", description="arithmetic of the forward and backward pass")


class RunConfig(Config):
    """One training of a (task, architecture, recipe, seed): the unit of storage."""

    # A Task and an Architecture; this module lies below both and cannot import them.
    task: Annotated[Any, BeforeValidator(lambda value: build(registry.tasks, value))]
    architecture: Annotated[
        Any, BeforeValidator(lambda value: build(registry.architectures, value))
    ]
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    seed: int = Field(0, ge=0, description="seed of weights, data and dropout")

    @property
    def versions(self) -> dict[str, int]:
        """Versions of the task and the architecture, which are part of the run id."""
        return {"task": self.task.version, "architecture": self.architecture.version}

    @property
    def run_id(self) -> str:
        """The name of the run, with a hash of everything that defines it and of nothing else."""
        config = self.model_dump(mode="json")
        digest = short_hash({"config": config, "versions": self.versions})
        return f"{self.task.name}-{self.architecture.name}-{digest}"


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces, so that equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def short_hash(value: Any) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]
