"""Checks a component that a plugin registered, whether mixer or task."""

from recall_bench.architectures import Architecture, CheckOn
from recall_bench.tasks import Task
from recall_bench.testing.mixers import check_mixer
from recall_bench.testing.report import Report
from recall_bench.testing.tasks import check_task


def check_component(component: type | Architecture | Task, on: CheckOn | None = None) -> Report:
    """Run `check_task` on a task or `check_mixer` on an architecture, with their defaults.

    ``on`` replaces the device and precision that an architecture declares.
    """
    cls = component if isinstance(component, type) else type(component)
    if issubclass(cls, Task):
        return check_task(component)  # type: ignore[arg-type]
    return check_mixer(component, on=on)  # type: ignore[arg-type]
