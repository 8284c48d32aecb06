"""`check`, and plugins before time is spent on them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from recall_bench import registry
from recall_bench.cli.verbs.flags import Debug
from recall_bench.errors import UserError, nearest

if TYPE_CHECKING:
    from recall_bench.testing import Report


def check(
    subject: Annotated[str, typer.Argument(help="An architecture, a task, or a plugin file.")],
    debug: Debug = False,
) -> None:
    """Verify the contract of a mixer or task, built in or in a plugin file."""
    from recall_bench.testing import check_component

    console = Console(highlight=False)
    if subject.endswith(".py") or Path(subject).is_file():
        components = registry.registered_by(registry.load_plugin(subject))
    else:
        kinds = (registry.architectures, registry.tasks)
        if not (kind := next((kind for kind in kinds if subject in kind.names()), None)):
            known = [name for kind in kinds for name in kind]
            raise UserError(
                f"Unknown architecture, task or file '{subject}'. {nearest(subject, known)}"
            )
        components = [kind.get(subject)]
    broken = []
    for component in components:
        result = check_component(component)
        console.print(result)
        broken += [result] if not result.passed else []
    if broken:
        raise UserError(" ".join(failure_message(result) for result in broken))


def check_plugins(plugins: Sequence[Path]) -> None:
    """Raise `UserError` for a plugin that breaks the contract, before anything is trained."""
    from recall_bench.testing import check_component

    for path in plugins:
        for component in registry.registered_by(registry.load_plugin(path)):
            result = check_component(component)
            if not result.passed:
                raise UserError(f"{failure_message(result)} See `recall-bench check {path}`.")


def failure_message(result: "Report") -> str:
    """A broken contract in one line."""
    names = "; ".join(failure.property for failure in result.failures)
    return f"{result.subject!r} breaks the contract of {len(result.failures)} properties: {names}."
