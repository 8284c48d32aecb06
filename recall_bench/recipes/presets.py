"""Named experiments: task options, recipe, learning rates and knob grids that belong together."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from pydantic import Field

from recall_bench.config import Config
from recall_bench.errors import UserError, nearest

Grid = dict[str, list[Any]]
"""Values to cross, by knob."""


class Preset(Config):
    """What a sweep runs where the user says nothing."""

    description: str
    tasks: dict[str, dict[str, Any]] = Field(description="options by task name")
    small: bool = Field(False, description="whether other tasks are at their size for a CPU")
    training: dict[str, Any] = {}
    model: dict[str, Any] = {}
    learning_rates: list[float]
    seeds: int = 1
    grids: dict[str, list[Grid]] = Field(description="knob grids by architecture")

    def options(self, task: str) -> dict[str, Any]:
        """What the preset says of a task; nothing where the published options stand."""
        if task in self.tasks or not self.small:
            return self.tasks.get(task, {})
        from recall_bench.recipes.quick_sizes import QUICK

        return QUICK.get(task, {})

    def knob_settings(
        self, architecture: str, given: Mapping[str, Sequence[Any]], grid: bool = True
    ) -> list[dict[str, Any]]:
        """Every knob setting of an architecture; what the user gave replaces the grid's values.

        Without ``grid`` a knob that is not given has its default.
        """
        settings: list[dict[str, Any]] = []
        for known in self.grids.get(architecture, [{}]) if grid else [{}]:
            crossed = {**known, **given}
            for values in product(*crossed.values()):
                setting = dict(zip(crossed, values, strict=True))
                if setting not in settings:
                    settings.append(setting)
        return settings

    def knobs(self, architecture: str) -> dict[str, list[Any]]:
        """Every value that a knob takes in the grids of an architecture."""
        found: dict[str, list[Any]] = {}
        for grid in self.grids.get(architecture, []):
            for knob, values in grid.items():
                kept = found.setdefault(knob, [])
                kept += [value for value in values if value not in kept]
        return found


def _logspace(low: float, high: float, count: int) -> list[float]:
    """``count`` powers of ten from 10^low to 10^high, to four significant digits."""
    step = (high - low) / (count - 1)
    return [float(f"{10 ** (low + index * step):.4g}") for index in range(count)]


WINDOWS = [8, 16, 32, 64, 128, 256, 512, 1024]

PRESETS = {
    "quick": Preset(
        description="separates good from bad architectures; about a minute a run on one core",
        small=True,
        tasks={
            "mqar": {
                "vocab_size": 512,
                "train": "64:4:8192,64:8:8192,64:16:8192,128:32:2048",
                "validation": "64:4:400,64:8:400,64:16:400,128:32:400",
                "test": "64:4:1000,64:8:1000,64:16:1000,128:32:1000",
            }
        },
        training={"epochs": 6, "batch_size": 32, "order": "interleaved"},
        learning_rates=[1e-3, 3e-3, 1e-2],
        grids={
            "based": [{"d_model": [32], "feature_dim": [4, 8, 16], "window": [0, 16, 64]}],
            "attention": [{"d_model": [16, 32]}],
            "sliding-window": [{"d_model": [32], "window": [8, 16, 32, 64]}],
            "mamba": [{"d_model": [32], "d_state": [4, 16]}],
            "h3": [{"d_model": [32], "d_state": [8, 32]}],
            "rwkv": [{"d_model": [32], "head_dim": [8, 16, 32]}],
            "taylor-attention": [{"d_model": [32], "feature_dim": [4, 8, 16]}],
            "short-conv": [{"d_model": [32]}],
        },
    ),
    "figure2": Preset(
        description="Figure 2 of Based (2402.18668): its data, recipe and shapes; needs a GPU",
        tasks={"mqar": {}},
        training={"precision": "tf32"},
        learning_rates=_logspace(-3, -1.5, 4),
        grids={
            "based": [{"d_model": [48, 64, 128], "feature_dim": [8, 16, 24], "window": [0]}],
            "attention": [{"d_model": [64, 128]}],
            "sliding-window": [{"d_model": [128], "window": WINDOWS}],
            "mamba": [{"d_model": [64, 128, 256], "d_state": [8, 16, 24]}],
            "h3": [
                {"d_model": [width], "d_state": [width // 4], "head_dim": [2]}
                for width in (64, 128, 256)
            ],
            "rwkv": [{"d_model": [64, 128, 256]}],
        },
    ),
    "smoke": Preset(
        description="every part of a sweep in seconds; the scores mean nothing",
        small=True,
        tasks={
            "mqar": {
                "vocab_size": 64,
                "train": "32:2:256,32:4:256",
                "validation": "32:2:64,32:4:64",
                "test": "32:2:64,32:4:64",
            }
        },
        training={"epochs": 2, "batch_size": 64, "early_stop": None},
        learning_rates=[3e-3, 1e-2],
        grids={},
    ),
}


def get(name: str) -> Preset:
    """The preset of a name; raises `UserError` with the nearest valid one."""
    if name not in PRESETS:
        raise UserError(f"Unknown preset '{name}'. {nearest(name, PRESETS)}")
    return PRESETS[name]
