"""Builds every component of a sweep once, before anything runs."""

import contextlib
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from recall_bench.config import RunConfig
from recall_bench.errors import UserError
from recall_bench.sweeps.label import label


def check(configs: Sequence[RunConfig]) -> None:
    """Build every architecture and task, without allocating memory; raises `UserError`."""
    for architecture in _distinct(config.architecture for config in configs):
        with _without_memory():
            _attempt(f"The architecture {label(architecture)}", architecture.stack)
    for task in _distinct(config.task for config in configs):
        for split in ("train", "validation", "test"):
            _attempt(f"The {split} data of task {label(task)}", task.segments, split)


def representatives(configs: Sequence[RunConfig]) -> list[RunConfig]:
    """The first runs that together cover every architecture, task and precision of ``configs``."""
    seen: set[tuple[str, str]] = set()
    chosen = []
    for config in configs:
        parts = {
            ("architecture", config.architecture.model_dump_json()),
            ("task", config.task.model_dump_json()),
            ("precision", config.training.precision),
        }
        if not parts <= seen:
            seen |= parts
            chosen.append(config)
    return chosen


def _without_memory() -> AbstractContextManager[Any]:
    """Put tensors on the meta device, unless the trainer has not imported torch."""
    torch = sys.modules.get("torch")
    return torch.device("meta") if torch else contextlib.nullcontext()


def _attempt(title: str, build: Callable[..., Any], *arguments: str) -> None:
    try:
        build(*arguments)
    except UserError as error:
        raise UserError(f"{title}: {error}") from error
    except Exception as error:
        raise UserError(f"{title} cannot be built: {type(error).__name__}: {error}") from error


def _distinct(components: Iterable[Any]) -> list[Any]:
    return list({component.model_dump_json(): component for component in components}.values())
