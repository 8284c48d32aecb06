"""The frozen configuration of a run, its canonical JSON, and the run id made from it."""

import functools
import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from recall_bench import registry
from recall_bench.errors import UserError, nearest
from recall_bench.first_fields import FIRST_FIELDS
from recall_bench.plugins.source import digest_of

Precision = Literal["fp32", "tf32", "bf16"]
Recipe = Literal["default", "published", "authors"]
"""`default` is one recipe for all architectures, `published` that of Figure 2's released code, and
`authors` that of each architecture's own authors."""

TRAINER_VERSIONS = {"backbone": 1, "optimizer": 1, "schedule": 1}
"""Raise one where the meaning of results changes: above 1 they are part of every run id."""

LARGEST = 2**63 - 1
"""The largest number that tensors, tables and random generators hold."""

LARGEST_OPTION = 1e9
"""The largest number in a training recipe: products of two of them still fit float32."""

WITH_DEFAULTS = "with defaults"
"""The context in which `model_dump` leaves no field out."""


class Config(BaseModel):
    """Base of all configurations: frozen, and refuses unknown fields."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, ser_json_inf_nan="constants"
    )


class Hashed(Config):
    """A configuration that run ids hash.

    Its JSON leaves out the fields that came later (`first_fields`) while they have their default.
    """

    @classmethod
    def first_fields(cls) -> Collection[str]:
        """The fields that the JSON always holds: those listed for the class and for its bases.

        A plugin's class always says what it declares itself.
        """
        bases = [base for base in cls.__mro__ if issubclass(base, Hashed)]
        builtin = [base for base in bases if registry.is_builtin(base)]
        names = {name for base in builtin for name in FIRST_FIELDS.get(_key(base), "").split()}
        inherited = {name for base in builtin for name in base.model_fields}
        return names | (cls.model_fields.keys() - inherited)

    @model_serializer(mode="wrap")
    def _without_later_defaults(
        self, handler: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        if info.context != WITH_DEFAULTS:
            for name in fields.keys() & _later(type(self)).keys():
                if getattr(self, name) == _later(type(self))[name]:
                    del fields[name]
        return self._head() | fields

    def _head(self) -> dict[str, Any]:
        return {}


def _key(cls: type[Hashed]) -> str:
    """The key of a built-in class in `FIRST_FIELDS`: its kind and name if it is registered."""
    kind = cls.__module__.split(".")[1].removesuffix("s")
    return f"{kind} {vars(cls)['name']}" if vars(cls).get("name") else cls.__name__


@functools.cache
def _later(cls: type[Hashed]) -> dict[str, Any]:
    """The defaults, as validated, of the fields that run ids hash only where they differ."""
    first = cls.first_fields()
    names = [
        name
        for name, field in cls.model_fields.items()
        if name not in first and not field.is_required()
    ]
    if not names:
        return {}
    try:
        plain: Config | None = cls()
    except (ValidationError, UserError):  # another field is required
        plain = None
    return {
        name: getattr(plain, name)
        if plain
        else cls.model_fields[name].get_default(call_default_factory=True)
        for name in names
    }


class Component(Hashed):
    """A registered task or architecture: its fields are its options."""

    model_config = ConfigDict(allow_inf_nan=False)

    name: ClassVar[str] = ""
    alias: ClassVar[str] = ""
    """A second name, accepted everywhere; records and run ids hold ``name``."""
    version: ClassVar[int] = 1

    def _head(self) -> dict[str, Any]:
        return {"name": self.name}


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


class ModelConfig(Hashed):
    """The backbone around the mixers (see `recall_bench.model.backbone`)."""

    model_config = ConfigDict(allow_inf_nan=False)

    mlp_ratio: float = Field(
        0.0, ge=0, le=1024, description="MLP width divided by model width; 0 leaves the MLP out"
    )
    norm: Literal["layernorm", "rmsnorm"] = Field(
        "layernorm", description="normalisation before each layer"
    )
    embedding_dropout: float = Field(0.1, ge=0, le=0.99, description="dropout on the embeddings")
    block_style: Literal["plain", "zoology"] = Field(
        "plain",
        description="zoology: a second norm after the mixer, whose output joins the stream again",
    )
    recipe: Recipe = Field(
        "default",
        description="published: as Figure 2's released code trains each architecture; authors: as "
        "the authors of each do",
    )


class TrainingConfig(Hashed):
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

    @field_validator(
        "epochs",
        "batch_size",
        "evaluation_batch_size",
        "learning_rate",
        "weight_decay",
        "gradient_clip",
    )
    @classmethod
    def _numbers_fit_float32(cls, value: float | None) -> float | None:
        if value is not None and value > LARGEST_OPTION:
            raise ValueError(f"expected at most {LARGEST_OPTION:g}. Got {value:g}")
        return value


class RunConfig(Hashed):
    """One training of a (task, architecture, recipe, seed): the unit of storage."""

    # A Task and an Architecture; this module lies below both and cannot import them.
    task: Annotated[Any, BeforeValidator(lambda value: build(registry.tasks, value))]
    architecture: Annotated[
        Any, BeforeValidator(lambda value: build(registry.architectures, value))
    ]
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    seed: int = Field(0, ge=0, le=LARGEST, description="seed of weights, data and dropout")

    @model_validator(mode="after")
    def _recipe_fits_the_backbone(self) -> Self:
        self.architecture.backbone(self.model)
        return self

    @property
    def versions(self) -> dict[str, int]:
        """The versions that are part of the run id.

        Those of the task and the architecture, and above 1 also those of other layers and of the
        trainer's parts.
        """
        layers = {
            f"layer {kind.name}": kind.version
            for kind in self._layers()
            if kind.name != self.architecture.name
        }
        others = layers | {f"trainer {part}": v for part, v in TRAINER_VERSIONS.items()}
        return {
            "task": self.task.version,
            "architecture": self.architecture.version,
            **{name: version for name, version in others.items() if version > 1},
        }

    @property
    def plugin_digest(self) -> str | None:
        """Digest of the source of the plugins that define the task, the architecture or a layer."""
        kinds = {type(self.task), type(self.architecture), *self._layers()}
        return digest_of(kind for kind in kinds if not registry.is_builtin(kind))

    @property
    def run_id(self) -> str:
        """The name of the run, with a hash of everything that defines it and of nothing else."""
        return run_name(self.model_dump(mode="json"), self.versions, self.plugin_digest)

    def left_out(self) -> dict[str, Any]:
        """The options at their default that the JSON leaves out, by section."""
        full = self.model_dump(mode="json", context=WITH_DEFAULTS)
        return _difference(full, self.model_dump(mode="json"))

    def _layers(self) -> list[Any]:
        """The classes of the layers that another architecture defines."""
        names = set(self.architecture.layer_names()) - {"self"}
        kinds = (registry.architectures.find(name) for name in sorted(names))
        return [kind for kind in kinds if kind]


def run_name(
    config: Mapping[str, Any], versions: Mapping[str, int], plugin_digest: str | None = None
) -> str:
    """The run id that follows from a configuration as JSON, its versions and its plugins."""
    hashed: dict[str, Any] = {"config": config, "versions": versions}
    if plugin_digest:
        hashed["plugin"] = plugin_digest
    return f"{config['task']['name']}-{config['architecture']['name']}-{short_hash(hashed)}"


def _difference(full: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of ``full`` that ``part`` lacks, by section."""
    missing = {}
    for name, value in full.items():
        if name not in part:
            missing[name] = value
        elif isinstance(value, Mapping) and (more := _difference(value, part[name])):
            missing[name] = more
    return missing


def merged(config: Mapping[str, Any], left_out: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as JSON with the options that it leaves out (`RunConfig.left_out`)."""
    whole = dict(config)
    for name, value in left_out.items():
        known = whole.get(name)
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            whole[name] = merged(known, value)
        elif name not in whole:
            whole[name] = value
    return whole


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces, so that equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def short_hash(value: Any) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]
