"""Finds the layers of an architecture that plugins define; imports no torch."""

from recall_bench import registry
from recall_bench.architectures.recipe import Architecture


def plugin_layers(architecture: Architecture) -> set[str]:
    """The names of the layers that are not built in."""
    names = {architecture.name if name == "self" else name for name in architecture.layer_names()}
    return {name for name in names if not registry.is_builtin(registry.architectures.get(name))}
