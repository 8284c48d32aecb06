"""Tasks that read files: a run is named after what they hold, not after where they lie."""

from pathlib import Path

from pydantic import Field, field_validator, model_validator

from recall_bench.documents.source import Files, resolve
from recall_bench.tasks.base import Task


class DataTask(Task):
    """A task that needs ``data``; a subclass says which files are read (`find`)."""

    data: str | None = Field(
        None, description="where the data lie; a run is named after their content, not the path"
    )

    @classmethod
    def find(cls, path: Path) -> Files:
        """The files that are read below a path; raises `ValueError` where there are none."""
        raise NotImplementedError

    @field_validator("data")
    @classmethod
    def _by_content(cls, value: str | None) -> str | None:
        return resolve(value, cls.find) if value else None

    @model_validator(mode="after")
    def _has_data(self) -> "DataTask":
        if self.data is None:
            raise ValueError(f"{self.name} reads documents. Expected --data PATH")
        return self
