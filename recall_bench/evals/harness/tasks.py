"""The harness's own tasks, with given documents and optionally another prompt."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recall_bench.errors import UserError, nearest
from recall_bench.evals.harness.data import hub_documents, local_documents
from recall_bench.evals.harness.prompts import Prompt

if TYPE_CHECKING:
    from datasets import Dataset
    from lm_eval.api.task import ConfigurableTask

METRIC = "contains"


@dataclass(frozen=True)
class RecallTask:
    """One of the harness's recall tasks; it reads ``columns`` of its data set."""

    name: str
    class_name: str
    columns: tuple[str, ...]
    twice_columns: tuple[str, ...] = ()
    """Columns that the twice-prompt reads in addition."""

    @property
    def harness_class(self) -> "type[ConfigurableTask]":
        """The harness's class: its data set, its version, its prompt and its score."""
        module = importlib.import_module(f"lm_eval.tasks.{self.name}.task")
        cls: type[ConfigurableTask] = getattr(module, self.class_name)
        return cls

    def documents(self, where: Path | None, twice: bool) -> "Dataset":
        """All documents of the task, from files under ``where`` or the hub. Raises `UserError`."""
        dataset = self.harness_class.DATASET_PATH
        if where is None:
            return hub_documents(self.name, dataset, self.harness_class.DATASET_NAME)
        columns = (*self.columns, *(self.twice_columns if twice else ()))
        return local_documents(self.name, dataset, columns, where)

    def build(self, documents: "Dataset", prompt: Prompt | None = None) -> "ConfigurableTask":
        """The harness's task on ``documents``; ``prompt`` replaces the harness's own prompt."""

        def download(task: Any, *_: Any, **__: Any) -> None:
            task.dataset = {"validation": documents}

        members: dict[str, Any] = {"download": download}
        if prompt is not None:
            members["doc_to_text"] = lambda task, doc: prompt(doc)
        task: ConfigurableTask = type(self.name, (self.harness_class,), members)()
        task.config.task = self.name
        task.set_config("num_fewshot", 0)
        return task


TASKS = {
    task.name: task
    for task in (
        RecallTask("swde", "SWDE", ("text", "value", "key")),
        RecallTask("fda", "FDA", ("text", "value", "key")),
        RecallTask(
            "squad_completion", "SQUADCompletion", ("text", "value"), ("context", "question")
        ),
    )
}


def get_task(name: str) -> RecallTask:
    """The task called ``name``; raises `UserError` with the nearest valid name."""
    if name not in TASKS:
        raise UserError(f"Unknown evaluation task '{name}'. {nearest(name, TASKS)}")
    return TASKS[name]
