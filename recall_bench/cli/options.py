"""Makes command-line flags from config fields, with their types, ranges, defaults and help.

Every value arrives as text, and pydantic parses it, so that a flag and a config file accept the
same values and refuse others with the same message.
"""

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import typer
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticUndefined

from recall_bench.config import Component
from recall_bench.errors import UserError, nearest


@dataclass(frozen=True)
class Panel:
    """A titled group of flags: the fields of one or more models.

    ``preset`` holds the values of flags that are not given, where they differ from the field's
    default; a ``swept`` panel takes several values per flag, separated by commas. A flag whose name
    an earlier panel has takes ``prefix`` before it: ``--task-form``.
    """

    title: str
    models: tuple[type[BaseModel], ...]
    exclude: frozenset[str] = frozenset()
    preset: Mapping[str, Any] = field(default_factory=dict)
    swept: bool = False
    prefix: str = ""

    def fields(self) -> dict[str, FieldInfo]:
        """The fields by name; the first model with a field provides its help."""
        fields: dict[str, FieldInfo] = {}
        for model in self.models:
            for name, info in model.model_fields.items():
                if name not in self.exclude:
                    fields.setdefault(name, info)
        return fields

    def check(self, name: str, text: str, flag: str) -> None:
        """Raise `UserError` if one of the models refuses a value of the field ``name``."""
        for model in self.models:
            if name in model.model_fields:
                for part in split_values(text) if self.swept else [text]:
                    check(model, name, part, flag)


def values_of(argv: Sequence[str], flag: str) -> list[str]:
    """The values of ``--flag VALUE`` and ``--flag=VALUE``, before the command line is parsed."""
    values = []
    for index, word in enumerate(argv):
        if word == flag and index + 1 < len(argv):
            values.append(argv[index + 1])
        elif word.startswith(f"{flag}="):
            values.append(word.partition("=")[2])
    return values


def split_values(text: str) -> list[str]:
    """The values of a swept flag: "a,b{c=1,d=2}" -> ["a", "b{c=1,d=2}"].

    Commas inside brackets and braces do not separate values.
    """
    parts, depth = [""], 0
    for character in text:
        depth = max(0, depth + (character in "([{") - (character in ")]}"))
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def with_panels(function: Callable[..., Any], panels: Iterable[Panel]) -> Callable[..., Any]:
    """Add a flag for every field of the panels to the command ``function(*, fixed flags, given)``.

    ``given`` receives the texts of the flags used: ``{panel title: {field: text}}``. The command
    raises `UserError` for a value that its field refuses.
    """
    signature = inspect.signature(function)
    fixed = [p for p in signature.parameters.values() if p.name != "given"]
    taken = {parameter.name for parameter in fixed}
    owner: dict[str, tuple[Panel, str]] = {}
    added = []
    for panel in panels:
        for field_name, info in panel.fields().items():
            name = f"{panel.prefix}_{field_name}" if field_name in taken else field_name
            if name in taken:
                raise UserError(f"Two options have the flag {flag_of(name)}. Rename one of them.")
            taken.add(name)
            owner[name] = panel, field_name
            default = panel.preset.get(field_name, info.default)
            added.append(_parameter(name, info, default, panel.title))

    def command(**arguments: Any) -> Any:
        given: dict[str, dict[str, str]] = {panel.title: {} for panel in panels}
        for name, (panel, field_name) in owner.items():
            value = arguments.pop(name)
            if value is not None:
                panel.check(field_name, value, flag_of(name))
                given[panel.title][field_name] = value
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


def check(model: type[BaseModel], name: str, text: str, flag: str | None = None) -> None:
    """Raise `UserError` if ``model`` refuses ``text`` for a field, whatever its other fields."""
    try:
        model(**{name: none_or_text(text)})
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            if problem["loc"][:1] == (name,):
                owner = f" for {model.name}" if issubclass(model, Component) else ""
                refusal = _refusal(model.model_fields[name], text, problem)
                raise UserError(f"{flag or flag_of(name)} {text}{owner}: {refusal}") from error


def _refusal(info: FieldInfo, text: str, problem: ErrorDetails) -> str:
    """The values that a field expects instead of ``text``, and the nearest of them."""
    within = ".".join(str(part) for part in problem["loc"][1:])
    if within:
        return f"{within}: {problem['msg']}. Got {problem['input']!r}."
    if problem["type"] == "value_error":
        return problem["msg"].removeprefix("Value error, ").rstrip(".") + "."
    kind = type_name(info.annotation)
    if "|" in kind:
        return f"expected {kind.replace('|', ' or ')}. {nearest(text, kind.split('|'))}"
    noun = {"INT": "an integer", "FLOAT": "a number"}.get(kind, kind)
    limit = range_of(info)
    expected = f"expected {noun}{', ' if limit else ''}{limit}."
    context = problem.get("ctx", {})
    closest = context.get("ge", context.get("le"))
    return expected if closest is None else f"{expected} The nearest is {closest}."


def _parameter(name: str, info: FieldInfo, default: Any, title: str) -> inspect.Parameter:
    option = typer.Option(
        flag_of(name),
        help=describe(info, default),
        metavar=type_name(info.annotation),
        rich_help_panel=title,
        show_default=False,
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[str | None, option],
    )


def describe(info: FieldInfo, default: Any) -> str:
    """Description, range and default of a field, in one line."""
    parts = [range_of(info)]
    if default is not PydanticUndefined:
        parts.append(f"default {default_text(default)}")
    notes = "; ".join(part for part in parts if part)
    return f"{info.description or ''} ({notes})".strip() if notes else info.description or ""


def range_of(info: FieldInfo) -> str:
    """The range of a numeric field in words, such as "1 to 256" or "above 0, at most 1"."""
    limits = {
        sign: str(limit)
        for part in info.metadata
        for sign in ("ge", "gt", "le", "lt")
        if (limit := getattr(part, sign, None)) is not None
    }
    if {"ge", "le"} <= limits.keys():
        return f"{limits['ge']} to {limits['le']}"
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    return ", ".join(f"{word} {limits[sign]}" for sign, word in words.items() if sign in limits)


def default_text(value: Any) -> str:
    """A default as a person would type it."""
    if isinstance(value, tuple | list):
        return ", ".join(default_text(item) for item in value)
    return str(value).lower() if isinstance(value, bool | None) else str(value)


def type_name(annotation: Any) -> str:
    """The metavar of a field's type."""
    if typing.get_origin(annotation) is Literal:
        return "|".join(str(choice) for choice in typing.get_args(annotation))
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        inner = [a for a in typing.get_args(annotation) if a is not type(None)]
        return "|".join([*(type_name(a) for a in inner), "none"])
    names: Mapping[Any, str] = {int: "INT", float: "FLOAT", bool: "true|false", str: "TEXT"}
    return names.get(annotation, "LIST")


def none_or_text(text: str) -> str | None:
    """The text of a flag for pydantic to parse: "none" becomes None."""
    return None if text.lower() == "none" else text
