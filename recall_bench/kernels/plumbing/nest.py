"""Walks nests of mappings, lists, tuples and named tuples, such as the states of mixers."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any


def leaves(nest: Any) -> Iterator[Any]:
    """Everything in a nest that is no container, in order."""
    if isinstance(nest, Mapping):
        for value in nest.values():
            yield from leaves(value)
    elif isinstance(nest, list | tuple):
        for value in nest:
            yield from leaves(value)
    else:
        yield nest


def map_leaves(function: Callable[[Any], Any], nest: Any) -> Any:
    """The same nest with ``function`` of every leaf; mappings become dicts."""
    if isinstance(nest, Mapping):
        return {key: map_leaves(function, value) for key, value in nest.items()}
    if isinstance(nest, list | tuple):
        parts = [map_leaves(function, value) for value in nest]
        return type(nest)(*parts) if hasattr(nest, "_fields") else type(nest)(parts)
    return function(nest)
