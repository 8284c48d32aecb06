"""Imports the package of a wrapped layer when the layer is built."""

import importlib
from types import ModuleType

from recall_bench.errors import UserError


def installed(module: str, package: str) -> ModuleType:
    """The module, such as ``fla.layers``; raises `UserError` naming the package that is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"The module {module} cannot be imported ({error}). Expected the package {package}; "
            f"its page explains how to install it."
        ) from error
