"""Tasks that read files; runs are named after the content of the files, not after their path."""

from pathlib import Path

from pydantic import Field, field_validator, model_validator

from recall_bench.documents.source import Files, resolve
from recall_bench.tasks.base import Task


class DataTask(Task):
    """A task that needs ``data``; a subclass defines which files it reads (`find`)."""

    data: str | None = Field(
        None, description="path of the data; runs are named after the content, not the path"
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
