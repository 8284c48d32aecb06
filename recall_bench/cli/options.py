"""Command-line flags made from config fields: types, ranges, defaults and help come with them.

Every value arrives as text and is parsed by pydantic, so that a flag and a config file accept
exactly the same and refuse it with the same message.
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

    ``preset`` holds the values that stand where a flag is not given, if not the field's default;
    a ``swept`` panel takes several values a flag, separated by commas.
    """

    title: str
    models: tuple[type[BaseModel], ...]
    exclude: frozenset[str] = frozenset()
    preset: Mapping[str, Any] = field(default_factory=dict)
    swept: bool = False

    def fields(self) -> dict[str, FieldInfo]:
        """The fields by name; the first model that has a name decides its help."""
        found: dict[str, FieldInfo] = {}
        for model in self.models:
            for name, info in model.model_fields.items():
                if name not in self.exclude:
                    found.setdefault(name, info)
        return found

    def check(self, name: str, text: str) -> None:
        """Raises `UserError` where one of the models refuses a value of the field ``name``."""
        for model in self.models:
            if name in model.model_fields:
                for part in values(text) if self.swept else [text]:
                    check(model, name, part)


def values_of(argv: Sequence[str], flag: str) -> list[str]:
    """What ``--flag VALUE`` or ``--flag=VALUE`` says, before the command line is parsed."""
    found = []
    for index, word in enumerate(argv):
        if word == flag and index + 1 < len(argv):
            found.append(argv[index + 1])
        elif word.startswith(f"{flag}="):
            found.append(word.partition("=")[2])
    return found


def values(text: str) -> list[str]:
    """The values of a swept flag: "a,b{c=1,d=2}" -> ["a", "b{c=1,d=2}"].

    Commas separate them where no bracket or brace is open.
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
    """The command ``function(*, fixed flags, given)`` with a flag for every field of the panels.

    ``given`` receives the flags that were used, as text: ``{panel title: {field: text}}``. The
    command raises `UserError` for a value that its field refuses.
    """
    signature = inspect.signature(function)
    fixed = [p for p in signature.parameters.values() if p.name != "given"]
    taken = {parameter.name for parameter in fixed}
    owner: dict[str, Panel] = {}
    added = []
    for panel in panels:
        for name, info in panel.fields().items():
            if name in taken:
                continue
            taken.add(name)
            owner[name] = panel
            added.append(_parameter(name, info, panel))

    def command(**arguments: Any) -> Any:
        given: dict[str, dict[str, str]] = {panel.title: {} for panel in panels}
        for name, panel in owner.items():
            value = arguments.pop(name)
            if value is not None:
                panel.check(name, value)
                given[panel.title][name] = value
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
    """Raises `UserError` where ``model`` refuses ``text`` for a field, whatever its others are."""
    try:
        model(**{name: parsed(text)})
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            if problem["loc"][:1] == (name,):
                whose = f" for {model.name}" if issubclass(model, Component) else ""
                said = _refusal(model.model_fields[name], text, problem)
                raise UserError(f"{flag or flag_of(name)} {text}{whose}: {said}") from error


def _refusal(info: FieldInfo, text: str, problem: ErrorDetails) -> str:
    """What a field expects instead of ``text``, and the nearest value that it takes."""
    within = ".".join(str(part) for part in problem["loc"][1:])
    if within:
        return f"{within}: {problem['msg']}. Got {problem['input']!r}."
    if problem["type"] == "value_error":
        return problem["msg"].removeprefix("Value error, ").rstrip(".") + "."
    kind = type_name(info.annotation)
    if "|" in kind:
        return f"expected {kind.replace('|', ' or ')}. {nearest(text, kind.split('|'))}"
    noun = {"INT": "an integer", "FLOAT": "a number"}.get(kind, kind)
    limit = bounds(info)
    expected = f"expected {noun}{', ' if limit else ''}{limit}."
    context = problem.get("ctx", {})
    closest = context.get("ge", context.get("le"))
    return expected if closest is None else f"{expected} The nearest is {closest}."


def _parameter(name: str, info: FieldInfo, panel: Panel) -> inspect.Parameter:
    option = typer.Option(
        flag_of(name),
        help=describe(info, panel.preset.get(name, info.default)),
        metavar=type_name(info.annotation),
        rich_help_panel=panel.title,
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
    notes = [bounds(info)]
    if default is not PydanticUndefined:
        notes.append(f"default {shown(default)}")
    said = "; ".join(note for note in notes if note)
    return f"{info.description or ''} ({said})".strip() if said else info.description or ""


def bounds(info: FieldInfo) -> str:
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


def shown(value: Any) -> str:
    """A default as a person would type it."""
    if isinstance(value, tuple | list):
        return ", ".join(shown(item) for item in value)
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


def parsed(text: str) -> str | None:
    """The text of a flag as pydantic reads it: "none" stands for None."""
    return None if text.lower() == "none" else text
