"""Draws a task for people: its explanation, a table of its segments, and a few examples."""

import inspect
import re

from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor

from recall_bench.cli.render_text import text_lines
from recall_bench.tasks.base import IGNORE, SPLITS, Examples, Role, Segment, Span, Task, generate

COLOURS = ("cyan", "yellow", "magenta", "green", "blue", "red")
MARKS = {"key": "k", "value": "v", "query": "?", "filler": "", "other": ""}
LEGEND = {"key": "k key", "value": "v value", "query": "? query"}


def render(task: Task, console: Console, *, seed: int = 0, count: int = 1) -> None:
    """Print the explanation and segments of a task, and ``count`` examples per training segment."""
    for paragraph in explanation(task).split("\n\n"):
        _print_paragraph(paragraph, console)
        console.print()
    console.print(segment_table(task))
    if report := task.report():
        for line in report.lines():
            console.print(Text(line))
    for index, segment in enumerate(task.segments("train")):
        render_examples(
            task, segment, generate(task, "train", index, seed, stop=count), console, count
        )


def render_examples(
    task: Task, segment: Segment, examples: Examples, console: Console, count: int = 3
) -> None:
    """Print the first ``count`` of ``examples``, which belong to ``segment``.

    Each token has its mark below it (k1 is the first key, v1 its value, ?1 its query) or the name
    that the task gives it, and the answer below that, so that colour is never needed.
    """
    codec = task.codec()
    for row in range(min(count, len(examples.inputs))):
        inputs, labels = examples.inputs[row], examples.labels[row]
        console.print()
        if codec:
            console.print(Text(f"{describe_segment(segment)}: example {row + 1}", "bold"))
            for line in text_lines(codec, inputs, labels):
                console.print(line)
            continue
        title = (f"{describe_segment(segment)}: example {row + 1}", "bold")
        console.print(Text.assemble(title, (f"  {_legend(task, segment, inputs, labels)}", "dim")))
        for line in example_lines(task, segment, inputs, labels, console.width):
            console.print(line, no_wrap=True, overflow="crop")


def explanation(task: Task | type[Task]) -> str:
    """The docstring of the task's module, without notes on the code's shapes.

    The docstring of the class replaces a missing module docstring.
    """
    cls = task if isinstance(task, type) else type(task)
    documentation = inspect.getdoc(inspect.getmodule(cls)) if cls.name else None
    text = documentation or inspect.getdoc(cls) or ""
    paragraphs = [part for part in text.split("\n\n") if not part.startswith("Shapes: ")]
    return re.sub(r"``(.+?)``", r"`\1`", "\n\n".join(paragraphs).strip())


def _print_paragraph(text: str, console: Console) -> None:
    """Print prose wrapped to the console's width, and indented text unchanged."""
    if text.startswith("    "):
        console.print(Text(text), no_wrap=True, overflow="crop")
        return
    items = re.split(r"\n(?=- )", text)
    for item in items:
        console.print(Text(" ".join(item.split())))


def _legend(task: Task, segment: Segment, inputs: Tensor, labels: Tensor) -> str:
    """The meaning of the marks in an example."""
    spans = task.describe(segment, inputs, labels)
    used = {span.role for span in spans if not span.name}
    notes = [text for role, text in LEGEND.items() if role in used]
    if task.readout == "sequence":
        notes.append("all answers are read from the last token")
    return ", ".join(notes)


def segment_table(task: Task) -> Table:
    """One row per segment of each split: its options, chance, and ceiling."""
    segments = [(split, segment) for split in SPLITS for segment in task.segments(split)]
    options = segments[0][1].text_fields()[:-1]
    limited = any(task.ceiling(segment) < 1 for _, segment in segments)
    table = Table(title=f"{task.name or type(task).__name__}: {task.tokens:,} tokens")
    table.add_column("split")
    for heading in (*options, "examples", "chance", *["ceiling"] * limited):
        table.add_column(heading, justify="right")
    previous = None
    for split, segment in segments:
        table.add_row(
            "" if split == previous else split,
            *(f"{getattr(segment, name)}" for name in options),
            f"{segment.examples:,}",
            f"{task.chance(segment):.3g}",
            *[f"{task.ceiling(segment):.3g}"] * limited,
        )
        previous = split
    return table


def describe_segment(segment: Segment) -> str:
    """The options of a segment in words: "length 64, pairs 4"."""
    options = segment.model_dump(exclude={"examples"})
    return ", ".join(f"{name} {value}" for name, value in options.items())


def example_lines(
    task: Task, segment: Segment, inputs: Tensor, labels: Tensor, width: int
) -> list[Text]:
    """One example in lines of ``width`` columns: tokens, with marks and answers below them."""
    tokens, answers = inputs.tolist(), labels.tolist()
    spans: list[Span | None] = [None] * len(tokens)
    for span in task.describe(segment, inputs, labels):
        spans[span.start : span.stop] = [span] * (span.stop - span.start)
    cell = 1 + max(len(str(max(tokens + answers))), *(len(_mark(span)) for span in spans))
    margin = max(len(str(len(tokens))), len("answer")) + 1
    per_line = max((width - margin) // cell, 1)

    lines: list[Text] = []
    folded = 0
    for start in range(0, len(tokens), per_line):
        chunk = range(start, min(start + per_line, len(tokens)))
        if all(_role(spans[position]) == "filler" for position in chunk):
            folded += len(chunk)
            continue
        lines += _fold(folded, margin)
        folded = 0
        lines += _chunk(chunk, tokens, answers, spans, cell, margin)
    return lines + _fold(folded, margin)


def _fold(tokens: int, margin: int) -> list[Text]:
    text = f"{'':{margin}} … {tokens} tokens of filler"
    return [Text(text, style="dim")] if tokens else []


def _chunk(
    chunk: range,
    tokens: list[int],
    answers: list[int],
    spans: list[Span | None],
    cell: int,
    margin: int,
) -> list[Text]:
    """A line of tokens, followed by a line of marks and one of answers if there are any."""
    line = Text.assemble((f"{chunk.start:>{margin - 1}} ", "dim"))
    marks = Text(" " * margin)
    answer_line = Text.assemble((f"{'answer':>{margin - 1}} ", "dim"))
    for position in chunk:
        span = spans[position]
        style = _style(span)
        before = spans[position - 1] if position > chunk.start else None
        line.append("→" if _value_of_key(span, before) else " ", style="dim")
        line.append(f"{tokens[position]:>{cell - 1}}", style=style)
        mark = "" if span is not None and span is before and span.name else _mark(span)
        marks.append(f"{mark:>{cell}}", style=style)
        answer = "" if answers[position] == IGNORE else answers[position]
        answer_line.append(f"{answer:>{cell}}", style=style)
    lines = [line]
    if marks.plain.strip():
        lines.append(marks)
    if any(answers[position] != IGNORE for position in chunk):
        lines.append(answer_line)
    for text in lines:
        text.rstrip()
    return lines


def _value_of_key(span: Span | None, before: Span | None) -> bool:
    """Whether a value directly follows its key."""
    return bool(
        span
        and before
        and (before.role, span.role) == ("key", "value")
        and before.group == span.group
    )


def _mark(span: Span | None) -> str:
    if span is not None and span.name:
        return span.name
    if span is None or not MARKS[span.role]:
        return ""
    return MARKS[span.role] + ("" if span.group is None else str(span.group + 1))


def _role(span: Span | None) -> Role:
    return "other" if span is None else span.role


def _style(span: Span | None) -> str:
    if span is None or span.role in ("filler", "other"):
        return "dim" if _role(span) == "filler" else ""
    colour = COLOURS[(span.group or 0) % len(COLOURS)]
    return f"bold {colour}" if span.role == "query" else colour
