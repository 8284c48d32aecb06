"""Resolves the knobs of an architecture's layers, builds their mixers, and spells them."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from recall_bench import registry
from recall_bench.architectures.layer_grammar import Layer, flatten, parse, show
from recall_bench.config import explain
from recall_bench.errors import UserError, nearest

if TYPE_CHECKING:
    from recall_bench.architectures.base import Mixer
    from recall_bench.architectures.recipe import Architecture

FIXED = {"d_model", "layers"}
"""Knobs of the whole stack."""


def check_knobs(cls: type[Architecture], layers: Iterable[Layer]) -> None:
    """Raise `UserError` for a knob in braces that its layer lacks, with the nearest valid name.

    Unknown layers pass, so that a configuration can be read without the plugin that made it;
    `component` refuses them.
    """
    for layer in dict.fromkeys(layers):
        kind = _kind(cls, layer.name)
        if kind is None:
            continue
        known = kind.model_fields.keys() - FIXED
        for knob, _ in layer.knobs:
            if knob in FIXED:
                raise UserError(f"{layer}: '{knob}' belongs to the whole stack, not to one layer.")
            if knob not in known:
                raise UserError(
                    f"{layer}: '{layer.name}' has no knob '{knob}'. {nearest(knob, known)}"
                )


def component(architecture: Architecture, layer: Layer) -> Architecture:
    """The architecture that builds a layer's mixer; raises `ValueError` for a knob out of range."""
    knobs = {knob: None if text.lower() == "none" else text for knob, text in layer.knobs}
    if _is_own(type(architecture), layer.name):
        if not knobs:
            return architecture
        fields = {name: getattr(architecture, name) for name in type(architecture).model_fields}
        return _construct(type(architecture), layer, {**fields, **knobs, "layers": "self"})
    kind = registry.architectures.get(layer.name)
    shared = _shared(architecture, kind) if kind.name in _defaults(type(architecture)) else {}
    return _construct(kind, layer, {"d_model": architecture.d_model, **shared, **knobs})


def build(architecture: Architecture, index: int, count: int, recipe: str = "default") -> Mixer:
    """Build a mixer; pass ``layer``, ``layers`` and ``recipe`` if the signature of `mixer` does."""
    parameters = inspect.signature(architecture.mixer).parameters
    arguments = {"layer": index, "layers": count, "recipe": recipe}
    return architecture.mixer(**{k: value for k, value in arguments.items() if k in parameters})


def spell(architecture: Architecture) -> str:
    """``layers`` as records hold it: equal stacks get equal text.

    The spelling writes repeats out, replaces aliases by the names in records, and puts into braces
    the knobs whose values differ from those without braces. For a layer outside the default
    ``layers``, braces also hold every first knob (`Component.first_fields`) that the architecture
    has under the same name with another value: older versions passed that value on to the layer,
    and a run of today must not share its name with such a run.
    """
    text = architecture.layers
    layers = [_spelled(architecture, layer) for layer in flatten(parse(text))]
    plain = [Layer(entry.strip()) for entry in text.split("+")]
    return text if layers == plain else show(layers)


def _spelled(architecture: Architecture, layer: Layer) -> Layer:
    cls = type(architecture)
    own, kind = _is_own(cls, layer.name), _kind(cls, layer.name)
    if kind is None:
        return layer
    name = layer.name if layer.name == "self" else kind.name
    knobs_of_stack = {knob: getattr(architecture, knob) for knob in cls.model_fields.keys() - FIXED}
    plain = {knob: kind.model_fields[knob].get_default() for knob in kind.model_fields}
    plain |= (
        knobs_of_stack if own else _shared(architecture, kind) if name in _defaults(cls) else {}
    )
    values = plain
    if layer.knobs:
        built = component(architecture, layer)
        values = {knob: getattr(built, knob) for knob in kind.model_fields}
    foreign = not own and name not in _defaults(cls)
    once_passed_on = {*cls.first_fields()} & {*kind.first_fields()} if foreign else set()
    knobs = [
        (knob, _text(values[knob]))
        for knob in sorted(kind.model_fields.keys() - FIXED)
        if values[knob] != plain[knob]
        or (knob in once_passed_on and knobs_of_stack.get(knob, values[knob]) != values[knob])
    ]
    return Layer(name, tuple(knobs))


def _kind(cls: type[Architecture], name: str) -> type[Architecture] | None:
    """The class that a layer of ``cls`` names; None if it is not known here."""
    registered: type[Architecture] | None = registry.architectures.find(name)
    return cls if _is_own(cls, name) else registered


def _is_own(cls: type[Architecture], name: str) -> bool:
    return name == "self" or (bool(cls.name) and name in (cls.name, cls.alias))


def _defaults(cls: type[Architecture]) -> set[str]:
    """The names in the default ``layers``, as records hold them."""
    names = {layer.name for layer in flatten(parse(cls.model_fields["layers"].default))} - {"self"}
    return {getattr(registry.architectures.find(name), "name", name) for name in names}


def _shared(architecture: Architecture, kind: type[Architecture]) -> dict[str, Any]:
    names = (kind.model_fields.keys() & type(architecture).model_fields.keys()) - FIXED
    return {name: getattr(architecture, name) for name in names}


def _construct(kind: type[Architecture], layer: Layer, fields: dict[str, Any]) -> Architecture:
    try:
        return kind(**fields)
    except ValidationError as error:
        raise ValueError(f"{layer}: {explain(error, kind)}") from error


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool | None) else str(value)
