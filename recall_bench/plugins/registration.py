"""Refuses classes that cannot be registered: their names, their bases, and their knobs."""

import json
import re
from typing import Any

from recall_bench.errors import UserError
from recall_bench.plugins import interrupts

BASES = {
    "architecture": "recall_bench.architectures.recipe.Architecture",
    "task": "recall_bench.config.Component",
}
"""The base of registered classes by kind, as names: this module cannot import them."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NOT_NAMES = {"self"}
"""Names with another meaning in ``layers``."""

FLAGS = frozenset(
    """
    alias arch batch_size count debug device early_stop epochs evaluation_batch_size
    gradient_clip help keep_weights learning_rate learning_rates name order plugin precision
    preset processes recipe retry_failed seed seeds seeds_at_best_rate store suite task
    unchecked version weight_decay
    """.split()  # noqa: SIM905 - more readable than a list
)
"""Names of flags and of the training recipe, which no knob or option may take."""


def check_name(kind: str, name: object) -> None:
    """Raise `UserError` if a class cannot have this name."""
    if not isinstance(name, str) or not NAME.fullmatch(name) or name in NOT_NAMES:
        raise UserError(
            f"Cannot register {kind} {_short(name)}. Expected a name of up to 64 letters, digits, "
            f"'.', '_' and '-' that begins with a letter or digit, and not 'self'."
        )


def check_class(kind: str, name: str, cls: Any) -> None:
    """Raise `UserError` if ``cls`` cannot be registered, whatever its defaults."""
    base = BASES[kind]
    bases = cls.__mro__ if isinstance(cls, type) else ()
    matching: list[Any] = [
        known for known in bases if f"{known.__module__}.{known.__qualname__}" == base
    ]
    if not matching:
        got = cls.__qualname__ if bases else f"a {type(cls).__name__}"
        raise UserError(
            f"Cannot register {got} as {kind} {name!r}. Expected a class that "
            f"derives from recall_bench.{kind}s.{kind.capitalize()}."
        )
    if "__dataclass_fields__" in vars(cls):
        raise UserError(
            f"Cannot register {cls.__qualname__} as {kind} {name!r}: it is a dataclass. "
            f"Its fields are options already; remove @dataclass."
        )
    inherited: dict[str, Any] = matching[0].model_fields
    for field, info in cls.model_fields.items():
        problem = None
        if field in FLAGS:
            problem = "is a flag of `train`, `sweep` or `show` already"
        elif field in inherited and info.annotation != inherited[field].annotation:
            wanted = getattr(inherited[field].annotation, "__name__", inherited[field].annotation)
            problem = f"is of another type. Every {kind} has it as {wanted}"
        elif field not in inherited and hasattr(matching[0], field):
            problem = f"hides a method or attribute that every {kind} has"
        if problem:
            raise UserError(f"The option '{field}' of {kind} {name!r} {problem}. Rename it.")


def check_defaults(kind: str, cls: Any) -> None:
    """Raise `UserError` unless ``cls`` can be built from its defaults and written as JSON."""
    if "__dataclass_fields__" in vars(cls):  # decorated after it was registered
        check_class(kind, cls.name, cls)
    for field, info in cls.model_fields.items():
        if info.is_required():
            raise UserError(
                f"The option '{field}' of {kind} {cls.name!r} has no default. Expected one, such "
                f"as Field(4, ge=1)."
            )
    facts: Any = next((known for known in cls.__mro__ if known.__qualname__ == "Facts"), None)
    for fact in facts.__annotations__ if facts else ():
        value, usual = getattr(cls, fact), getattr(facts, fact)
        wanted = tuple if usual is None else type(usual)
        if value != usual and not isinstance(value, wanted):
            raise UserError(
                f"{fact} of {kind} {cls.name!r} is a {type(value).__name__}. Expected a "
                f"{wanted.__name__}."
            )
    try:
        json.dumps(cls().model_dump(mode="json"), allow_nan=False).encode()
    except UserError:
        raise
    except BaseException as error:
        if interrupts.by_user(error):
            raise
        raise UserError(
            f"The defaults of {kind} {cls.name!r} are refused: {one_line(error)}."
        ) from error


def one_line(error: BaseException) -> str:
    """Type and message of an error, without line breaks and not too long."""
    text = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def _short(name: object) -> str:
    text = ascii(name)
    return text if len(text) <= 80 else f"{text[:77]}..."
