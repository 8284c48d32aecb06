"""Names components in the messages and tables of a sweep."""

from collections.abc import Sequence

from recall_bench.config import Component


def label(component: Component, knobs: Sequence[str] | None = None) -> str:
    """A component in words: ``based feature_dim=16 window=64``, with all knobs by default."""
    names = type(component).model_fields if knobs is None else knobs
    return " ".join([component.name, *(f"{knob}={getattr(component, knob)}" for knob in names)])
