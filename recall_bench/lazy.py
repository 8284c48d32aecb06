"""`torch` for modules that often run without it: imported when an attribute is first read.

Importing PyTorch takes more than a second, and listing tasks or planning a sweep needs none of it.
Such a module says

    from __future__ import annotations
    from recall_bench.lazy import torch

and imports the classes that only its annotations name under ``TYPE_CHECKING``. Type checkers see
the real module. Unlike with `importlib.util.LazyLoader`, nothing enters ``sys.modules`` before the
import, so that ``"torch" in sys.modules`` keeps its meaning for other packages.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
else:

    class _LazyModule(ModuleType):
        """Reads every attribute from the module of its name, which it imports if need be."""

        def __getattr__(self, name: str) -> Any:
            return getattr(importlib.import_module(self.__name__), name)

    torch = _LazyModule("torch")

__all__ = ["torch"]
