"""`check`, and the check of plugins before a sweep."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer
from rich.console import Console

from recall_bench import registry
from recall_bench.architectures import Architecture
from recall_bench.architectures.check_on import CheckOn, CheckPrecision
from recall_bench.architectures.plugins import plugin_layers
from recall_bench.cli.verbs.flags import Debug
from recall_bench.config import RunConfig
from recall_bench.errors import UserError, nearest

if TYPE_CHECKING:
    from recall_bench.testing import Report


def check(
    subject: Annotated[str, typer.Argument(help="An architecture, a task, or a plugin file.")],
    device: Annotated[
        str | None, typer.Option("--device", help="cpu or cuda; overrides the architecture.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option("--precision", help="fp64, fp32 or bf16; overrides it too.")
    ] = None,
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
        result = check_component(component, _overrides(component, device, precision))
        console.print(result)
        broken += [result] if not result.passed else []
    if broken:
        raise UserError(" ".join(failure_message(result) for result in broken))


def _overrides(component: type, device: str | None, precision: str | None) -> CheckOn | None:
    """The user's device and precision, without the declared tolerance; None if not given."""
    if device is not None and device.partition(":")[0] not in ("cpu", "cuda"):
        raise UserError(f"Unknown device {device!r}. Expected cpu, cuda or cuda:N.")
    known = get_args(CheckPrecision)
    if precision is not None and precision not in known:
        raise UserError(f"Unknown precision {precision!r}. {nearest(precision, known)}")
    if not issubclass(component, Architecture) or (device, precision) == (None, None):
        return None
    declared = component.check_on
    return CheckOn(
        device=device or declared.device,
        precision=cast(CheckPrecision, precision or declared.precision),
    )


def check_plugins(
    plugins: Sequence[Path], configs: Sequence[RunConfig], store: Path, unchecked: bool
) -> dict[str, str]:
    """Refuse plugins that break the contract before spending time on them.

    Returns the checked properties of each architecture with plugin layers, by its JSON, or
    "unchecked" on request. Prints the report and raises `UserError` if a property fails.
    """
    loaded = [registry.registered_by(registry.load_plugin(path)) for path in plugins]
    distinct = {config.architecture.model_dump_json(): config.architecture for config in configs}
    foreign = {
        text: architecture for text, architecture in distinct.items() if plugin_layers(architecture)
    }
    if unchecked:
        return dict.fromkeys(foreign, "unchecked")
    tasks = [cls for classes in loaded for cls in classes if not issubclass(cls, Architecture)]
    if not (foreign or tasks):
        return {}
    from recall_bench.testing import ContractBroken, check_component, verify

    try:
        for task in tasks:
            if not (report := check_component(task)).passed:
                raise ContractBroken(report)
        return {text: verify(architecture, store) for text, architecture in foreign.items()}
    except ContractBroken as broken:
        Console(highlight=False).print(broken.report)
        raise UserError(
            f"{failure_message(broken.report)} Use --unchecked to train it anyway."
        ) from broken


def failure_message(result: "Report") -> str:
    """The failed properties of a check in one line."""
    names = "; ".join(failure.property for failure in result.failures)
    count = len(result.failures)
    failed = "1 property" if count == 1 else f"{count} properties"
    return f"{result.subject!r} breaks the contract in {failed}: {names}."
