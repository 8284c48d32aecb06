"""Expands a sweep into run configurations: every point with every learning rate and seed."""

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
    """Combine every architecture with every learning rate and seed, without repeating a run.

    Pass components as objects or as ``{"name": …, field: …}``. Runs with the first seed come before
    those with the second, and within a seed those with the middle learning rate come first, so that
    an interrupted sweep has covered all points. Raises `UserError` for a value out of range.
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
    """Sort the values by their distance from the middle one: [1, 2, 3] -> [2, 1, 3]."""
    ordered = sorted(values)
    middle = (len(ordered) - 1) / 2
    return sorted(ordered, key=lambda value: abs(ordered.index(value) - middle))
