"""One run: from its configuration to its record."""

import importlib
from typing import TYPE_CHECKING, Any

from recall_bench.training.progress import Interrupted, Progress

if TYPE_CHECKING:
    from recall_bench.training.device import check_device
    from recall_bench.training.loop import train

__all__ = ["Interrupted", "Progress", "check_device", "train"]

_NEED_TORCH = {"check_device": "device", "train": "loop"}


def __getattr__(name: str) -> Any:
    """Import torch with the first use of `train`: a sweep reads progress without it."""
    if name not in _NEED_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_NEED_TORCH[name]}"), name)
