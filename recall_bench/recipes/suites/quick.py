"""Every built-in task at a size for a CPU, for a first look at which tasks separate architectures.

A run takes a minute or two on one core. A score shows whether an architecture can do a task with
few steps and a small state; it says nothing about the published sizes. Attention runs with and
without rotary embeddings, because on tasks about order they decide whether it succeeds.
"""

from recall_bench.recipes import presets
from recall_bench.recipes.quick_sizes import QUICK
from recall_bench.recipes.suites.base import Column, Setting, Suite


def suite() -> Suite:
    """The tasks that have a quick size, with the options and the recipe of the preset ``quick``."""
    preset = presets.get("quick")
    columns = {
        name: Column(settings=(Setting(task=name, options=preset.options(name)),))
        for name in [*preset.tasks, *QUICK]
    }
    return Suite(
        name="quick",
        description="every task, small enough for a CPU",
        columns=columns,
        training=preset.training,
        model=preset.model,
        learning_rates=[3e-3, 1e-2],
        shared={"d_model": 32},
    )
