"""Nests of tensors, as found in the caches of other packages."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor


def map_tensors(nest: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Apply ``function`` to every tensor in a nest of mappings, lists and tuples.

    Raises `TypeError` for anything else in the nest.
    """
    if isinstance(nest, Tensor):
        return function(nest)
    if isinstance(nest, Mapping):
        return {key: map_tensors(value, function) for key, value in nest.items()}
    if isinstance(nest, list | tuple):
        return tuple(map_tensors(value, function) for value in nest)
    raise TypeError(f"A layer's cache holds a {type(nest).__name__}; expected tensors alone.")
