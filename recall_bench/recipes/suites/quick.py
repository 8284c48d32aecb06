"""Every built-in task at a size for the CPU: a first look, and the test that each task separates.

A run takes a minute or two on one core. Scores say which architecture can do a task at all with
few steps and a small state; they are no match for the published sizes. Attention comes with and
without rotary embeddings: where order matters they decide whether it can do the task at all.
"""

from recall_bench.recipes import presets
from recall_bench.recipes.quick_sizes import QUICK
from recall_bench.recipes.suites.base import Column, Setting, Suite


def suite() -> Suite:
    """The tasks that have a quick size, at the options and the recipe of the preset ``quick``."""
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
