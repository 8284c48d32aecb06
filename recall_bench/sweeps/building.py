"""Builds every component of a sweep once, before anything runs."""

import contextlib
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from recall_bench.config import RunConfig
from recall_bench.errors import UserError
from recall_bench.plugins import interrupts
from recall_bench.plugins.registration import one_line
from recall_bench.sweeps.label import label
from recall_bench.sweeps.memory import count_tokens, count_weights

BYTES_PER_WEIGHT = 16
"""A weight, its gradient, and the optimiser's two moments, in float32."""

BYTES_PER_TOKEN = 4
"""An input token of the data; labels come on top."""


def check(configs: Sequence[RunConfig], room: int | None = None) -> None:
    """Build every architecture and task, without allocating memory; raises `UserError`.

    ``room`` is the memory of the device in bytes; also refuses runs that certainly exceed it.
    """
    weights: dict[str, int] = {}
    for architecture in _distinct(config.architecture for config in configs):
        with _without_memory():
            stack = _attempt(f"The architecture {label(architecture)}", architecture.stack)
        weights[architecture.model_dump_json()] = count_weights(mixer for _, mixer in stack)
    examples: dict[str, int] = {}
    for task in _distinct(config.task for config in configs):
        tokens = 0
        for split in ("train", "validation", "test"):
            title = f"The {split} data of task {label(task)}"
            tokens += count_tokens(_attempt(title, task.segments, split))
        examples[task.model_dump_json()] = tokens
    for config in configs if room else ():
        tokens = examples[config.task.model_dump_json()]
        numbers = weights[config.architecture.model_dump_json()]
        numbers += getattr(config.task, "tokens", 0) * config.architecture.d_model
        _refuse_beyond(room or 0, BYTES_PER_TOKEN * tokens, f"The data of task {config.task.name}")
        needed = BYTES_PER_WEIGHT * numbers
        _refuse_beyond(room or 0, needed, f"Training {config.architecture.name}")


def _refuse_beyond(room: int, needed: int, title: str) -> None:
    if needed > room:
        raise UserError(
            f"{title} needs at least {needed / 1e9:,.0f} GB of memory; the device has "
            f"{room / 1e9:,.0f} GB. Choose smaller sizes."
        )


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


def _attempt(title: str, build: Callable[..., Any], *arguments: str) -> Any:
    try:
        return build(*arguments)
    except UserError as error:
        raise UserError(f"{title}: {error}") from error
    except BaseException as error:
        if interrupts.by_user(error) and interrupts.received_signal():
            raise
        raise UserError(f"{title} cannot be built: {one_line(error)}") from error


def _distinct(components: Iterable[Any]) -> list[Any]:
    return list({component.model_dump_json(): component for component in components}.values())
