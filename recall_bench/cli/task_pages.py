"""Writes docs/tasks.md from the tasks themselves.

    python -m recall_bench.cli.task_pages docs/tasks.md

Each task has a section: its explanation, an example as `recall-bench show` draws it, its options,
and the published segments with chance and ceilings.
"""

import io
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from recall_bench import registry
from recall_bench.cli import options
from recall_bench.cli.render import explanation, render_examples
from recall_bench.store.files import write_file
from recall_bench.tasks import SPLITS, Segment, Task, generate

WIDTH = 92
WINDOW = 64
"""The window whose ceiling is listed beside the task's."""
LONGEST = 1024
"""Longer segments get no window ceiling: some tasks estimate it from a large sample."""

GOLDEN: dict[str, tuple[str, dict[str, Any]]] = {
    "mqar": ("24:4:1", {"vocab_size": 64}),
    "ar": ("12:1", {"vocab_size": 8}),
    "forgetting-mqar": ("18:3:2:1", {"vocab_size": 20}),
    "compositional-mqar": ("26:4:1", {"vocab_size": 30}),
    "induction": ("12:1", {"vocab_size": 8}),
    "selective-copying": ("15:4:1", {"vocab_size": 8}),
    "copying": ("12:3:1", {"alphabet": 6}),
    "ngram-lookup": ("24:6:1", {"alphabet": 9, "ngram": 2, "answer": 3}),
    "phonebook": ("32:3:1", {"names": 3, "digits": 2, "shown": 1}),
    "set-disjointness": ("10:2:4:1", {"vocab_size": 20}),
    "in-context-language": (
        "18:3:4:1",
        {"symbols": 5, "fewest_symbols": 4, "states": 5, "string": 6},
    ),
    "mad-in-context-recall": ("16:1", {"vocab_size": 8}),
    "mad-noisy-recall": ("20:0.4:1", {"vocab_size": 12, "noise_tokens": 4}),
    "mad-fuzzy-recall": ("24:1:1", {"vocab_size": 8}),
    "mad-selective-copying": ("16:4:1", {"vocab_size": 8}),
    "mad-compression": ("8:1", {}),
    "mad-memorization": ("8:1", {"vocab_size": 16}),
    "needle": ("32:2:2:1:-1:1", {"key_symbols": 4, "value_tokens": 2, "filler_symbols": 3}),
    "variable-tracking": (
        "32:2:2:1",
        {"variables": 9, "value_symbols": 2, "filler_symbols": 3},
    ),
    "common-words": ("24:2:4:1:1", {"words": 20}),
    "frequent-words": ("40:2:1", {"words": 20, "alpha": 1.8}),
}
"""The segment and options of the example of each task, small enough to follow by eye."""


def page() -> str:
    """The whole page, in the order of the registry and without plugins."""
    sections, described = [], dict[str, str]()
    for name in registry.tasks.builtin():
        cls = registry.tasks.get(name)
        sections.append(_section(name, cls, described.setdefault(cls.__module__, name)))
    names = [f"[`{name}`](#{name})" for name in registry.tasks.builtin()]
    return "\n\n".join([*HEAD, ", ".join(names) + ".", *sections]) + "\n"


HEAD = (
    "# Tasks",
    "`make docs` generates this page from the tasks; `recall-bench show TASK` draws more examples, "
    "and `recall-bench list TASK` lists the options on the command line. In the examples, k1 is "
    "the first key, v1 its value and ?1 its query. *chance* is the expected accuracy of a guess "
    "that ignores the context, *ceiling* is the accuracy that no model can exceed, and *window* is "
    f"the ceiling for a model that sees the last {WINDOW} tokens at every query.",
)


def golden(name: str) -> Task:
    """Build a task by name with the options of its example."""
    segment, more = GOLDEN[name]
    made: Task = registry.tasks.get(name)(**dict.fromkeys(SPLITS, segment), **more)
    return made


def _section(name: str, cls: type[Task], first: str) -> str:
    """The section of a task; ``first`` is the first task of its module, which explains them all."""
    parts = [f"## {name}"]
    if first == name:
        parts.append(explanation(cls))
    else:
        parts.append(f"Explained under [`{first}`](#{first}).")
    if name in GOLDEN:
        parts += [_example(name), _segments(cls())]
    elif "data" in cls.model_fields:
        parts.append("It reads data from disk, so this page shows no example.")
    else:
        parts.append(f"Its examples are text: see `recall-bench show {name}`.")
    parts.append(_options(cls))
    return "\n\n".join(parts)


def _example(name: str) -> str:
    """One golden example as `recall-bench show` draws it, in a code block."""
    task = golden(name)
    segment = task.segments("train")[0]
    console = Console(file=io.StringIO(), width=WIDTH, record=True, highlight=False)
    render_examples(task, segment, generate(task, "train", 0, 0), console, 1)
    lines = console.export_text().rstrip().strip("\n").splitlines()
    _, more = GOLDEN[name]
    changes = "".join(f", {key} {value}" for key, value in more.items())
    caption = f"{lines[0].partition(': example')[0]}{changes}: {lines[0].partition('  ')[2]}"
    return "\n".join([f"An example ({caption}):", "", "```text", *lines[1:], "```"])


def _segments(task: Task) -> str:
    """A table of the published segments; equal validation and test segments share rows."""
    fields = task.segments("train")[0].text_fields()[:-1]
    lines = [[*("split", *fields, "examples"), "chance", "ceiling", "window"]]
    for split in SPLITS:
        label: str = split
        if task.segments("validation") == task.segments("test"):
            if split == "validation":
                continue
            label = label.replace("test", "validation, test")
        for segment in task.segments(split):
            numbers = [f"{getattr(segment, field):g}" for field in fields]
            lines.append([label, *numbers, f"{segment.examples:,}", *_limits(task, segment)])
    return _markdown(lines)


def _limits(task: Task, segment: Segment) -> list[str]:
    window = None
    if segment.length <= LONGEST:
        window = task.window_ceiling(segment, WINDOW)
    return [
        f"{task.chance(segment):.3g}",
        f"{task.ceiling(segment):.3g}",
        "-" if window is None else f"{window:.2f}",
    ]


def _options(cls: type[Task]) -> str:
    lines = [["option", "type", "meaning"]]
    for name, info in cls.model_fields.items():
        if name in SPLITS:
            continue
        kind = options.type_name(info.annotation).replace("|", " or ")
        lines.append([f"`{options.flag_of(name)}`", kind, options.describe(info, info.default)])
    if len(lines) == 1:
        return "It has no options besides its segments."
    return _markdown(lines)


def _markdown(lines: list[list[str]]) -> str:
    body = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join(f"| {' | '.join(cell for cell in line)} |" for line in body)


def main() -> None:
    """Write the page to the file that the command line names."""
    if len(sys.argv) != 2:
        sys.exit("Expected one file: python -m recall_bench.cli.task_pages docs/tasks.md")
    write_file(Path(sys.argv[1]), page().encode())


if __name__ == "__main__":
    main()
