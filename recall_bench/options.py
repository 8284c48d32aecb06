"""Command-line flags made from config fields: types, ranges, defaults and help come with them.

Every value arrives as text and is parsed by pydantic, so that a flag and a config file accept
exactly the same and refuse it with the same message.
"""

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined


@dataclass(frozen=True)
class Panel:
    """A titled group of flags: the fields of one or more models."""

    title: str
    models: tuple[type[BaseModel], ...]
    exclude: frozenset[str] = frozenset()

    def fields(self) -> dict[str, FieldInfo]:
        """The fields by name; the first model that has a name decides its help."""
        found: dict[str, FieldInfo] = {}
        for model in self.models:
            for name, field in model.model_fields.items():
                if name not in self.exclude:
                    found.setdefault(name, field)
        return found


def values_of(argv: Sequence[str], flag: str) -> list[str]:
    """What ``--flag VALUE`` or ``--flag=VALUE`` says, before the command line is parsed."""
    found = []
    for index, word in enumerate(argv):
        if word == flag and index + 1 < len(argv):
            found.append(argv[index + 1])
        elif word.startswith(f"{flag}="):
            found.append(word.partition("=")[2])
    return found


def with_panels(function: Callable[..., Any], panels: Iterable[Panel]) -> Callable[..., Any]:
    """The command ``function(*, fixed flags, given)`` with a flag for every field of the panels.

    ``given`` receives the flags that were used, as text: ``{panel title: {field: text}}``.
    """
    signature = inspect.signature(function)
    fixed = [p for p in signature.parameters.values() if p.name != "given"]
    taken = {parameter.name for parameter in fixed}
    owner: dict[str, str] = {}
    added = []
    for panel in panels:
        for name, field in panel.fields().items():
            if name in taken:
                continue
            taken.add(name)
            owner[name] = panel.title
            added.append(_parameter(name, field, panel.title))

    def command(**arguments: Any) -> Any:
        given: dict[str, dict[str, str]] = {panel.title: {} for panel in panels}
        for name, title in owner.items():
            value = arguments.pop(name)
            if value is not None:
                given[title][name] = value
        return function(**arguments, given=given)

    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in [*fixed, *added]]
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.__doc__ = function.__doc__
    command.__name__ = function.__name__
    return command


def flag_of(name: str) -> str:
    """``feature_dim`` -> ``--feature-dim``."""
    return "--" + name.replace("_", "-")


def _parameter(name: str, field: FieldInfo, panel: str) -> inspect.Parameter:
    option = typer.Option(
        flag_of(name),
        help=describe(field),
        metavar=type_name(field.annotation),
        rich_help_panel=panel,
        show_default=False,
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[str | None, option],
    )


def describe(field: FieldInfo) -> str:
    """Description, range and default of a field, in one line."""
    notes = []
    limits = bounds(field)
    if limits:
        notes.append(limits)
    if field.default is not PydanticUndefined and field.default is not None:
        notes.append(f"default {shown(field.default)}")
    text = field.description or ""
    return f"{text} ({'; '.join(notes)})" if notes else text


def bounds(field: FieldInfo) -> str:
    """The range of a numeric field, such as ">= 1, <= 256"."""
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    return ", ".join(
        f"{sign} {getattr(limit, key):g}"
        for limit in field.metadata
        for key, sign in signs.items()
        if getattr(limit, key, None) is not None
    )


def shown(value: Any) -> str:
    """A default as a person would type it."""
    if isinstance(value, tuple | list):
        return ",".join(shown(item) for item in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def type_name(annotation: Any) -> str:
    """The metavar of a field's type."""
    if typing.get_origin(annotation) is Literal:
        return "|".join(str(choice) for choice in typing.get_args(annotation))
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        inner = [a for a in typing.get_args(annotation) if a is not type(None)]
        return "|".join([*(type_name(a) for a in inner), "none"])
    names: Mapping[Any, str] = {int: "INT", float: "FLOAT", bool: "true|false", str: "TEXT"}
    return names.get(annotation, "LIST")


def parsed(text: str) -> str | None:
    """The text of a flag as pydantic reads it: "none" stands for None."""
    return None if text.lower() == "none" else text
