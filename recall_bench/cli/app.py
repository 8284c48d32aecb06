"""Builds the application for one command line, and prints errors in one line.

The flags of `train`, `sweep` and `show` depend on the architecture and task that the command line
names, so each call builds the application anew.
"""

import contextlib
import sys
import traceback
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import typer
from rich.console import Console

from recall_bench import registry
from recall_bench.cli import options, output, request
from recall_bench.cli.options import Panel
from recall_bench.cli.verbs import benches, catalogue, checks, results, runs
from recall_bench.errors import UserError
from recall_bench.plugins import interrupts
from recall_bench.plugins.registration import one_line

UsageError = cast(type[Exception], typer.BadParameter.__bases__[0])
"""The base of the errors that typer raises for a command line that it cannot parse."""
MAY_BE_EMPTY = {"--title"}
"""Flags whose value may be empty."""


def run(argv: Sequence[str]) -> int:
    """Carry out one command line; returns the exit code, 2 after printing a user's error."""
    words = list(argv) or ["--help"]
    output.accept_every_character()
    try:
        _check_words(words)
        app = build_app(words)
        code = app(args=words, prog_name="recall-bench", standalone_mode=False)
        if code == 130 and not interrupts.by_user(KeyboardInterrupt()):
            raise UserError("Code outside recall-bench raised KeyboardInterrupt.")
        if code == 130:  # what typer makes of a KeyboardInterrupt
            raise KeyboardInterrupt
        output.flush()
    except UserError as error:
        return _complain(str(error), words)
    except UsageError as error:
        return _complain(_usage(error), words)
    except BrokenPipeError:
        output.discard()
        return 1
    except BaseException as error:
        if isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError):
            return 1  # rich has noticed that nobody reads the output any more
        message = _foreign(error)
        if message is None or interrupts.by_user(error):
            raise
        return _complain(message, words)
    return int(code or 0)


def _check_words(words: Sequence[str]) -> None:
    """Refuse what no flag can mean: an empty value, or bytes that are no text."""
    for position, word in enumerate(words):
        if not word.isprintable() and any(ord(c) == 0 or "\ud800" <= c <= "\udfff" for c in word):
            raise UserError(f"The argument {word!a} is not text. Expected UTF-8 without NUL.")
        flag, equals, value = word.partition("=")
        if not word:
            flag = words[position - 1] if position else ""
        elif value or not (equals and flag.startswith("--")):
            continue
        if flag not in MAY_BE_EMPTY:
            where = f"{flag} ''" if flag.startswith("--") else "An argument"
            raise UserError(f"{where} is empty. Expected a value, or the flag left out.")


def _foreign(error: BaseException) -> str | None:
    """The message for an error that is not this package's: a plugin's, or the system's."""
    if place := registry.plugin_line(error):
        return f"The plugin failed: {one_line(error)} ({place})."
    if isinstance(error, SystemExit):
        return f"Code outside recall-bench ended the program: {one_line(error)}."
    if isinstance(error, OSError):
        subject = f"Cannot use {error.filename}" if error.filename else "Cannot write the output"
        return f"{subject}: {error.strerror or one_line(error)}."
    if isinstance(error, MemoryError):
        return "The memory of this machine does not suffice. Choose smaller sizes or counts."
    return None


def _complain(message: str, words: Sequence[str]) -> int:
    """Print one message, after the traceback with ``--debug``; returns the exit code 2."""
    with contextlib.suppress(OSError):
        if "--debug" in words:
            traceback.print_exc()
        Console(stderr=True, highlight=False).print("[bold red]Error:[/] ", end="")
        print(" ".join(message.splitlines()), file=sys.stderr)
    output.discard_if_broken()
    return 2


def _usage(error: Any) -> str:
    """The mistake in the command line, and the help that explains its flags."""
    message = error.format_message()
    if close := getattr(error, "possibilities", None):
        message = f"{error.message}. Did you mean {' or '.join(sorted(close))}?"
    path = error.ctx.command_path if error.ctx else "recall-bench"
    knobs = " --arch NAME" if path.endswith(("train", "sweep")) else ""
    return f"{message.rstrip('.')}{'' if close else '.'} See `{path}{knobs} --help`."


def build_app(argv: Sequence[str]) -> typer.Typer:
    """Build the application for one command line, with flags for the names in it."""
    app = typer.Typer(
        help="How well does a sequence-mixing layer recall, and what does that cost in memory?",
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    for path in options.values_of(argv, "--plugin"):
        registry.load_plugin(path)
    panels = _panels(argv)
    app.command("list")(catalogue.list_everything)
    app.command("show")(options.with_panels(catalogue.show, panels[1:2]))
    app.command("train")(options.with_panels(runs.train, panels))
    app.command("sweep")(options.with_panels(runs.sweep, panels))
    app.command("plot")(results.plot)
    app.command("report")(results.report)
    app.command("check")(checks.check)
    app.command("export")(results.export)
    app.command("import")(results.import_records)
    app.command("eval")(runs.evaluate_model)
    bench = typer.Typer(help="Measure this machine's speed against the theoretical floor.")
    bench.command("kernels")(benches.bench_kernels)
    bench.command("training")(benches.bench_training)
    bench.command("tasks")(benches.bench_tasks)
    app.add_typer(bench, name="bench", no_args_is_help=True)
    app.command("doctor")(catalogue.doctor)
    return app


def _panels(argv: Sequence[str]) -> list[Panel]:
    """The groups of flags that depend on the names in a command line."""
    verb = next((word for word in argv if not word.startswith("-")), "")
    if verb not in ("show", "train", "sweep"):
        return []
    names = [
        name for text in options.values_of(argv, "--arch") for name in request.split_names(text)
    ]
    task = (_shown_task(argv) if verb == "show" else options.values_of(argv, "--task")) or ["mqar"]
    preset = (options.values_of(argv, "--preset") or ["quick"])[-1]
    return request.panels(names, task[-1], preset, sweep=verb == "sweep")


def _shown_task(argv: Sequence[str]) -> list[str]:
    """The first word after `show` that is neither a flag nor a flag's value, if any."""
    words = argv[argv.index("show") :]
    return [
        word
        for last, word in pairwise(words)
        if not word.startswith("-") and (not last.startswith("--") or "=" in last)
    ][:1]
