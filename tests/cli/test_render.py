"""What `recall-bench show` prints can be read by a person, in 80 columns and without colour."""

import io

import pytest
import torch
from rich.console import Console

from recall_bench.cli.render import render
from recall_bench.tasks import Examples, Segment, Span, Split, Task
from recall_bench.tasks.recall.mqar import MQAR


def shown(task: Task, width: int = 80, colour: bool = False, count: int = 1) -> str:
    console = Console(
        file=io.StringIO(), width=width, record=True, color_system="standard", force_terminal=True
    )
    render(task, console, seed=0, count=count)
    return console.export_text(styles=colour)


def test_pairs_queries_and_answers_stand_in_columns() -> None:
    lines = shown(MQAR(train="64:4:8")).splitlines()
    start = next(i for i, line in enumerate(lines) if "pairs 4: example 1" in line) + 1
    tokens, marks = lines[start], lines[start + 1]
    assert tokens.count("→") == 4
    assert "k1   v1   k2   v2   k3   v3   k4   v4" in marks
    asked = [index for index, line in enumerate(lines) if line.startswith("answer")]
    answers = [lines[index].split()[1:] for index in asked]
    assert sum(len(some) for some in answers) == 4
    for index in asked:
        for column in range(7, len(lines[index]), 5):
            answer, mark = (lines[at][column : column + 5].strip() for at in (index, index - 1))
            if answer:
                pair = int(mark.removeprefix("?"))
                assert tokens[7:].replace("→", " ").split()[2 * pair - 1] == answer


@pytest.mark.parametrize("width", [40, 80, 200])
def test_nothing_is_wider_than_the_console(width: int) -> None:
    text = shown(MQAR(repeats=2, test="96:16:1", validation="96:16:1", train="96:16:8"), width)
    assert max(len(line) for line in text.splitlines()) <= width


def test_a_key_its_value_and_its_query_share_a_colour() -> None:
    text = shown(MQAR(), colour=True)
    assert text.count("\x1b[36m") >= 4  # the first pair and its marks, cyan
    assert "\x1b[1;36m" in text  # its query, bold


def test_long_filler_is_folded() -> None:
    task = MQAR(vocab_size=64, train="512:2:4", validation="16:2:1", test="16:2:1")
    assert "tokens of filler" in shown(task)


def test_the_table_lists_every_segment_once() -> None:
    text = shown(MQAR(), count=0)
    assert "100,000" in text
    assert text.count("1,000 ") == 14
    assert "example 1" not in text


class Echo(Task):
    """Asks for every third token; has options of its own and no description."""

    @property
    def tokens(self) -> int:
        return 9

    def segments(self, split: Split) -> tuple[Segment, ...]:
        return (Segment(length=6, examples=4),)

    def examples(self, segment: Segment, generator: torch.Generator, count: int) -> Examples:
        inputs = torch.randint(9, (count, segment.length), generator=generator)
        labels = torch.full_like(inputs, -100)
        labels[:, 2::3] = inputs[:, 2::3]
        return Examples(inputs, labels)

    def chance(self, segment: Segment) -> float:
        return 1 / 9


def test_a_task_without_a_description_can_be_shown() -> None:
    text = shown(Echo())
    assert "Echo: 9 tokens" in text
    assert "?1" in text
    assert "?2" in text


def test_what_the_task_probes_stands_first_and_is_wrapped() -> None:
    text = shown(MQAR(), width=60)
    assert text.startswith("Multi-query associative recall (MQAR)")
    assert "    inputs   k0 v0 k1 v1" in text
    assert "Shapes: " not in text


class Named(Echo):
    """Its first token is a mark, two tokens form its key."""

    def describe(self, segment: Segment, inputs: torch.Tensor, labels: torch.Tensor) -> list[Span]:
        return [
            Span(0, 1, "other", name="start"),
            Span(1, 2, "key", 0),
            Span(2, 3, "query", 0),
            Span(3, 5, "filler", name="noise"),
        ]


def test_names_stand_under_the_tokens_once_a_span_and_the_legend_has_the_marks_in_use() -> None:
    lines = shown(Named()).splitlines()
    at = next(i for i, line in enumerate(lines) if "example 1" in line)
    assert lines[at].endswith("k key, ? query")
    assert lines[at + 2].split() == ["start", "k1", "?1", "noise"]


def test_the_table_has_ceilings_where_they_are_below_one() -> None:
    class Noisy(Echo):
        def ceiling(self, segment: Segment) -> float:
            return 0.75

    assert "ceiling" not in shown(Echo())
    assert "0.75" in shown(Noisy())
