"""`torch` for modules that often run without it: the first attribute access imports it.

Importing PyTorch takes more than a second, and listing tasks or planning a sweep does not need it.
Such a module writes

    from __future__ import annotations
    from recall_bench.lazy import torch

and imports classes that it uses only in annotations under ``TYPE_CHECKING``. Type checkers see the
real module. Unlike `importlib.util.LazyLoader`, this adds nothing to ``sys.modules`` before the
import, so that other packages can rely on ``"torch" in sys.modules``.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
else:

    class _LazyModule(ModuleType):
        """Reads every attribute from the real module of this name, importing it if needed."""

        def __getattr__(self, name: str) -> Any:
            return getattr(importlib.import_module(self.__name__), name)

    torch = _LazyModule("torch")

__all__ = ["torch"]
