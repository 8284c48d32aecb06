"""Checking whatever a plugin registered, mixer or task."""

from recall_bench.architectures import Architecture, CheckOn
from recall_bench.tasks import Task
from recall_bench.testing.mixers import check_mixer
from recall_bench.testing.report import Report
from recall_bench.testing.tasks import check_task


def check_component(component: type | Architecture | Task, on: CheckOn | None = None) -> Report:
    """`check_task` for a task, `check_mixer` for an architecture, both with their defaults.

    ``on`` is where a mixer is checked, if not where its architecture declares.
    """
    cls = component if isinstance(component, type) else type(component)
    if issubclass(cls, Task):
        return check_task(component)  # type: ignore[arg-type]
    return check_mixer(component, on=on)  # type: ignore[arg-type]
