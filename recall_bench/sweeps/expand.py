"""What a sweep consists of: every point with every learning rate and seed, as configurations."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from recall_bench import registry
from recall_bench.config import Component, ModelConfig, RunConfig, TrainingConfig, build, explain
from recall_bench.errors import UserError

Settings = TypeVar("Settings", ModelConfig, TrainingConfig)


def expand(
    *,
    task: Component | Mapping[str, Any],
    architectures: Iterable[Component | Mapping[str, Any]],
    learning_rates: Sequence[float],
    seeds: Sequence[int],
    model: ModelConfig | Mapping[str, Any] | None = None,
    training: TrainingConfig | Mapping[str, Any] | None = None,
) -> list[RunConfig]:
    """Every architecture with every learning rate and seed, each run once.

    Components are given as such or as ``{"name": …, field: …}``. Every point comes with its middle
    learning rate before any comes with another, and with its first seed before its second, so that
    a sweep that is cut off has covered all points. Raises `UserError` for a value out of range.
    """
    points = [_component(registry.architectures, point) for point in architectures]
    task = _component(registry.tasks, task)
    backbone = _settings(ModelConfig, model or {})
    recipe = dict(_settings(TrainingConfig, training or {}))
    recipes = [
        _settings(TrainingConfig, recipe | {"learning_rate": rate})
        for rate in _from_the_middle(learning_rates)
    ]
    runs = [
        RunConfig(task=task, architecture=point, model=backbone, training=recipe, seed=seed)
        for seed in seeds
        for recipe in recipes
        for point in points
    ]
    return list({run.run_id: run for run in runs}.values())


def _component(kind: registry.Registry, value: Component | Mapping[str, Any]) -> Any:
    return build(kind, dict(value) if isinstance(value, Mapping) else value)


def _settings(model: type[Settings], values: Settings | Mapping[str, Any]) -> Settings:
    if not isinstance(values, Mapping):
        return values
    try:
        return model(**values)
    except ValidationError as error:
        raise UserError(explain(error, model)) from error


def _from_the_middle(values: Sequence[float]) -> list[float]:
    """The values in order, the middle ones first: [1, 2, 3] -> [2, 1, 3]."""
    ordered = sorted(values)
    middle = (len(ordered) - 1) / 2
    return sorted(ordered, key=lambda value: abs(ordered.index(value) - middle))
