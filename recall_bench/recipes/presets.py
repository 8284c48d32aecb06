"""Named experiments: task options, recipe and learning rates that belong together.

Each architecture declares its knob grids for a preset in ``Architecture.grids``.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from pydantic import Field

from recall_bench import registry
from recall_bench.config import Config
from recall_bench.errors import UserError, nearest


class Preset(Config):
    """Supplies everything of a sweep that the user does not set."""

    name: str
    description: str
    tasks: dict[str, dict[str, Any]] = Field(description="options by task name")
    grids_of: str = Field("", description="the preset whose knob grids it runs; empty: its own")
    small: bool = Field(False, description="whether other tasks have their size for a CPU")
    examples: int | None = Field(None, description="examples of a segment at most")
    training: dict[str, Any] = {}
    model: dict[str, Any] = {}
    learning_rates: list[float]
    seeds: int = 1

    def options(self, task: str) -> dict[str, Any]:
        """The options of a task under this preset; empty for the published ones."""
        options = self.tasks.get(task, {})
        if task not in self.tasks and self.small:
            from recall_bench.recipes.quick_sizes import QUICK

            options = QUICK.get(task, {})
        if self.examples is None:
            return options
        return {name: _at_most(self.examples, name, value) for name, value in options.items()}

    def knob_settings(
        self, architecture: str, given: Mapping[str, Sequence[Any]], grid: bool = True
    ) -> list[dict[str, Any]]:
        """Every knob setting of an architecture; the user's values replace those of the grid.

        Without ``grid`` a knob that the user does not set has its default.
        """
        settings: list[dict[str, Any]] = []
        for known in self._grids(architecture) or [{}] if grid else [{}]:
            crossed = {**known, **given}
            for values in product(*crossed.values()):
                setting = dict(zip(crossed, values, strict=True))
                if setting not in settings:
                    settings.append(setting)
        return settings

    def knobs(self, architecture: str) -> dict[str, list[Any]]:
        """Every value that a knob takes in the grids of an architecture."""
        values_of: dict[str, list[Any]] = {}
        for grid in self._grids(architecture):
            for knob, values in grid.items():
                kept = values_of.setdefault(knob, [])
                kept += [value for value in values if value not in kept]
        return values_of

    def _grids(self, architecture: str) -> Sequence[Mapping[str, Sequence[Any]]]:
        grids: Mapping[str, Any] = registry.architectures.get(architecture).grids
        return grids.get(self.grids_of or self.name, [])


def _at_most(examples: int, option: str, value: Any) -> Any:
    """The value of an option; if it lists segments, ``form:examples``, with at most so many."""
    if option not in ("train", "validation", "test"):
        return value
    parts = [segment.rpartition(":") for segment in value.split(",")]
    return ",".join(f"{form}:{min(int(number), examples)}" for form, _, number in parts)


def _logspace(low: float, high: float, count: int) -> list[float]:
    """``count`` powers of ten from 10^low to 10^high, to four significant digits."""
    step = (high - low) / (count - 1)
    return [float(f"{10 ** (low + index * step):.4g}") for index in range(count)]


_QUICK_MQAR = {
    "vocab_size": 512,
    "train": "64:4:8192,64:8:8192,64:16:8192,128:32:2048",
    "validation": "64:4:400,64:8:400,64:16:400,128:32:400",
    "test": "64:4:1000,64:8:1000,64:16:1000,128:32:1000",
}

_ALL = (
    Preset(
        name="quick",
        description="separates good from bad architectures; about a minute per run on one core",
        small=True,
        tasks={"mqar": _QUICK_MQAR},
        training={"epochs": 6, "batch_size": 32, "order": "interleaved"},
        learning_rates=[1e-3, 3e-3, 1e-2],
    ),
    Preset(
        name="quick2",
        description="quick without dropout and with four times its epochs; needs a GPU to be quick",
        grids_of="quick",
        small=True,
        tasks={"mqar": _QUICK_MQAR},
        training={"epochs": 24, "batch_size": 32, "order": "interleaved"},
        model={"embedding_dropout": 0.0},
        learning_rates=[1e-3, 3e-3, 1e-2],
    ),
    Preset(
        name="figure2",
        description="Figure 2 of Based (2402.18668): its data, recipe and shapes; needs a GPU",
        tasks={"mqar": {}},
        training={"precision": "tf32"},
        learning_rates=_logspace(-3, -1.5, 4),
    ),
    Preset(
        name="smoke",
        description="every part of a sweep in seconds; the scores mean nothing",
        small=True,
        tasks={
            "mqar": {
                "vocab_size": 64,
                "train": "32:2:256,32:4:256",
                "validation": "32:2:64,32:4:64",
                "test": "32:2:64,32:4:64",
            },
            "documents": {"train": "256:64", "validation": "256:64", "test": "256:64"},
            "swde": {"length": 256, "train_questions": 256, "test_questions": 64},
            "squad": {"length": 256, "train_questions": 256, "test_questions": 64},
        },
        examples=256,
        training={"epochs": 2, "batch_size": 64, "early_stop": None},
        learning_rates=[3e-3, 1e-2],
    ),
)
PRESETS = {preset.name: preset for preset in _ALL}


def get(name: str) -> Preset:
    """The preset called ``name``; raises `UserError` with the nearest valid name."""
    if name not in PRESETS:
        raise UserError(f"Unknown preset '{name}'. {nearest(name, PRESETS)}")
    return PRESETS[name]
