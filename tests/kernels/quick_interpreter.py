"""Saves a third of the interpreter's time: it patches `triton.language` once for each kernel.

The interpreter replaces the language's functions before a kernel and restores them afterwards, but
also goes through all of them again at every call of a device function.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import triton.language as tl
from triton.runtime import interpreter


@contextmanager
def patched_once() -> Iterator[None]:
    """Within the block, device functions leave a language alone that is patched already."""
    patch_language = interpreter._patch_lang
    languages: dict[Callable[..., Any], list[Any]] = {}

    def patch_missing(function: Callable[..., Any]) -> Any:
        if function not in languages:
            modules = filter(inspect.ismodule, function.__globals__.values())
            languages[function] = [module for module in modules if module in (tl, tl.core)]
        if any(tl.core.is_builtin(language.load) for language in languages[function]):
            return patch_language(function)
        return interpreter._LangPatchScope()

    patch = pytest.MonkeyPatch()
    patch.setattr(interpreter, "_patch_lang", patch_missing)
    try:
        yield
    finally:
        patch.undo()
