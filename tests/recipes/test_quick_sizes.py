"""Quick sizes are tasks that can be built, small enough for a minute or two on one core."""

import pytest

from recall_bench.recipes.quick_sizes import QUICK
from recall_bench.registry import tasks
from recall_bench.tasks import generate


@pytest.mark.parametrize("name", QUICK)
def test_the_quick_size_of_a_task_can_be_built_and_is_small(name: str) -> None:
    task = tasks.get(name)(**QUICK[name])
    assert sum(part.length * part.examples for part in task.segments("train")) <= 2**21
    assert generate(task, "test", 0, seed=0, stop=2).inputs.shape[0] == 2
