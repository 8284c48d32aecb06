"""Mixers and the recipes that stack them, one folder per family.

`recall_bench.architectures.base` holds the contract of a mixer and
`recall_bench.architectures.recipe` that of a recipe, which needs no torch.
"""

from typing import TYPE_CHECKING, Any

from recall_bench.architectures.check_on import CheckOn
from recall_bench.architectures.facts import Source
from recall_bench.architectures.recipe import Architecture

if TYPE_CHECKING:
    from recall_bench.architectures.base import Mixer, Recurrence, State
    from recall_bench.architectures.carry import Carry

__all__ = ["Architecture", "Carry", "CheckOn", "Mixer", "Recurrence", "Source", "State"]


def __getattr__(name: str) -> Any:
    """Import the mixers on first use: they need torch, and reading recipes does not."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from recall_bench.architectures import base, carry

    return getattr(carry if name == "Carry" else base, name)
