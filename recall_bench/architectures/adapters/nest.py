"""Nests of tensors, as the caches of other packages hold them."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor


def mapped(nest: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """The same nest of mappings, lists and tuples with every tensor passed through ``function``.

    Raises `TypeError` for anything else in it.
    """
    if isinstance(nest, Tensor):
        return function(nest)
    if isinstance(nest, Mapping):
        return {key: mapped(value, function) for key, value in nest.items()}
    if isinstance(nest, list | tuple):
        return tuple(mapped(value, function) for value in nest)
    raise TypeError(f"A layer's cache holds a {type(nest).__name__}; expected tensors alone.")
