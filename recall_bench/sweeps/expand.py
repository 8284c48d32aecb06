"""Expands a sweep into run configurations: every point with every learning rate and seed."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from recall_bench import registry
from recall_bench.config import Component, ModelConfig, RunConfig, TrainingConfig, build, explain
from recall_bench.errors import UserError

if TYPE_CHECKING:  # importing it would delay workers
    import pandas as pd

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


def first_seed(configs: Sequence[RunConfig]) -> list[RunConfig]:
    """The runs with the first seed."""
    return [config for config in configs if config.seed == configs[0].seed]


def at_best_rates(configs: Sequence[RunConfig], done: "pd.DataFrame") -> list[RunConfig]:
    """The runs of the first seed, and the others at the rates that validation chose for it.

    ``done`` is the table of finished runs; it must hold those of the first seed.
    """
    from recall_bench.frontier.points import points

    first = first_seed(configs)
    table = points(done[done["run_id"].isin({config.run_id for config in first})])
    chosen = {run_id for ids in table["run_ids"] for run_id in ids}
    best = {_without_seed(config) for config in first if config.run_id in chosen}
    return [config for config in configs if config in first or _without_seed(config) in best]


def _without_seed(config: RunConfig) -> str:
    return config.model_dump_json(exclude={"seed"})


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
