"""A suite: columns of settings, one recipe, and a size for every architecture."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from recall_bench import registry
from recall_bench.config import Config


class Setting(Config):
    """One task with its options."""

    task: str
    options: dict[str, Any] = {}
    change: str = Field("", description="the difference from the column's first setting")

    @staticmethod
    def changed(task: str, options: Mapping[str, Any], change: Mapping[str, Any]) -> "Setting":
        """The task with one change to its options, named after it."""
        named = {
            name: value for name, value in change.items() if name not in ("validation", "test")
        }
        text = ", ".join(f"{name}={value}" for name, value in (named or change).items())
        return Setting(task=task, options={**options, **change}, change=text)


class Column(Config):
    """A task as a suite scores it: the mean over settings."""

    settings: tuple[Setting, ...] = Field(min_length=1)
    probes: str = Field("", description="in a few words, why a model may fail here")


class Suite(Config):
    """Tasks, their training recipe, and the size of every architecture.

    Each architecture declares its sizes in ``Architecture.suites`` and its published counterparts
    in ``Architecture.counterparts``.

    The score of a column is the mean over its settings, each at the learning rate and weight decay
    that are best on validation; the score of an architecture is the mean over columns.
    """

    name: str
    description: str
    columns: dict[str, Column]
    training: dict[str, Any] = {}
    model: dict[str, Any] = {}
    learning_rates: list[float]
    weight_decays: list[float] = Field([], description="empty: the recipe's own")
    seeds: int = 1
    shared: dict[str, Any] = Field({}, description="knobs of every architecture")
    sizes: str = Field("", description="the suite whose sizes architectures use; empty: this one")
    published: dict[str, dict[str, float]] = Field(
        {}, description="accuracy by model and column, as published"
    )
    published_otherwise: str = Field(
        "", description="what the published scores measure, where it is not what ours do"
    )

    def knobs(self, architecture: str) -> dict[str, Any]:
        """The knobs of an architecture in this suite; the values of a list are crossed."""
        own: Mapping[str, Any] = registry.architectures.get(architecture).suites
        return {**self.shared, **own.get(self.sizes or self.name, {})}

    def counterpart(self, architecture: str) -> str | None:
        """The published model of the same architecture; None if there is none."""
        cls = registry.architectures.find(architecture)
        name = cls and cls.counterparts.get(self.sizes or self.name)
        return name if name in self.published else None

    def settings(self) -> list[Setting]:
        """All settings: the first of every column, then every second, and so on."""
        deepest = max(len(column.settings) for column in self.columns.values())
        return [
            column.settings[index]
            for index in range(deepest)
            for column in self.columns.values()
            if index < len(column.settings)
        ]
