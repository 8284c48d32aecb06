"""A few examples of a task and a table of its segments, for a person to look at."""

from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor

from recall_bench.tasks.base import IGNORE, SPLITS, Examples, Role, Segment, Span, Task, generate

COLOURS = ("cyan", "yellow", "magenta", "green", "blue", "red")
MARKS = {"key": "k", "value": "v", "query": "?", "filler": "", "other": ""}


def render(task: Task, console: Console, *, seed: int = 0, count: int = 1) -> None:
    """Print the segments of every split, then ``count`` examples of each training segment."""
    console.print(segment_table(task))
    for index, segment in enumerate(task.segments("train")):
        render_examples(
            task, segment, generate(task, "train", index, seed, stop=count), console, count
        )


def render_examples(
    task: Task, segment: Segment, examples: Examples, console: Console, count: int = 3
) -> None:
    """Print the first ``count`` of ``examples``, which belong to ``segment``.

    Under each token stands its mark (k1 the first key, v1 its value, ?1 its query), and under that
    the answer, so that nothing rests on colour alone.
    """
    for row in range(min(count, len(examples.inputs))):
        console.print()
        title = (f"{describe_segment(segment)}: example {row + 1}", "bold")
        console.print(Text.assemble(title, ("  k key, v value, ? query", "dim")))
        for line in example_lines(
            task, segment, examples.inputs[row], examples.labels[row], console.width
        ):
            console.print(line, no_wrap=True, overflow="crop")


def segment_table(task: Task) -> Table:
    """One row for each segment of each split: its options, and what guessing gets."""
    segments = [(split, segment) for split in SPLITS for segment in task.segments(split)]
    options = [name for name in type(segments[0][1]).model_fields if name != "examples"]
    table = Table(title=f"{task.name or type(task).__name__}: {task.tokens:,} tokens")
    table.add_column("split")
    for heading in (*options, "examples", "chance"):
        table.add_column(heading, justify="right")
    previous = None
    for split, segment in segments:
        table.add_row(
            "" if split == previous else split,
            *(f"{getattr(segment, name)}" for name in options),
            f"{segment.examples:,}",
            f"{task.chance(segment):.3g}",
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
    """One example in lines of ``width`` columns: tokens, and below them marks and answers."""
    tokens, answers = inputs.tolist(), labels.tolist()
    spans: list[Span | None] = [None] * len(tokens)
    for span in task.describe(segment, inputs, labels):
        spans[span.start : span.stop] = [span] * (span.stop - span.start)
    groups = [span.group + 1 for span in spans if span and span.group is not None]
    cell = 1 + max(len(str(task.tokens - 1)), 1 + len(str(max(groups, default=0))))
    margin = max(len(str(len(tokens))), len("answer")) + 1
    per_line = max((width - margin) // cell, 1)

    lines: list[Text] = []
    folded = 0
    for start in range(0, len(tokens), per_line):
        chunk = range(start, min(start + per_line, len(tokens)))
        if all(_role(spans[at]) == "filler" for at in chunk):
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
    """The line of tokens; below it marks where a token has one, and answers where asked."""
    line = Text.assemble((f"{chunk.start:>{margin - 1}} ", "dim"))
    marks = Text(" " * margin)
    asked = Text.assemble((f"{'answer':>{margin - 1}} ", "dim"))
    for at in chunk:
        span = spans[at]
        style = _style(span)
        before = spans[at - 1] if at > chunk.start else None
        line.append("→" if _value_of_key(span, before) else " ", style="dim")
        line.append(f"{tokens[at]:>{cell - 1}}", style=style)
        marks.append(f"{_mark(span):>{cell}}", style=style)
        answer = "" if answers[at] == IGNORE else answers[at]
        asked.append(f"{answer:>{cell}}", style=style)
    lines = [line]
    if any(_mark(spans[at]) for at in chunk):
        lines.append(marks)
    if any(answers[at] != IGNORE for at in chunk):
        lines.append(asked)
    for text in lines:
        text.rstrip()
    return lines


def _value_of_key(span: Span | None, before: Span | None) -> bool:
    """Whether a value follows the key that it belongs to."""
    return bool(
        span
        and before
        and (before.role, span.role) == ("key", "value")
        and before.group == span.group
    )


def _mark(span: Span | None) -> str:
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
