"""Draws an example whose tokens are text."""

from rich.text import Text
from torch import Tensor

from recall_bench.documents.tokens import Codec
from recall_bench.tasks.base import IGNORE, answer_runs

LINES = 12
"""Lines shown from the beginning and from the end of an example."""


def text_lines(codec: Codec, inputs: Tensor, labels: Tensor) -> list[Text]:
    """The text of an example, from inputs and labels (length,), without padding.

    The answer follows, then any further questions with their answers. A long text loses its middle.
    An example with labels nearly everywhere is shown without answers.
    """
    shown = inputs[inputs != codec.pad]
    if 2 * int((labels != IGNORE).sum()) >= len(shown):
        return _folded(codec.decode(shown.tolist()))
    begin = len(inputs) - len(shown)
    lines: list[Text] = []
    for is_answer, first, after in answer_runs(labels, begin):
        if is_answer:
            answer = codec.decode(labels[first:after].tolist()).strip()
            lines.append(Text.assemble(("answer ", "dim"), (answer, "bold cyan")))
            begin = after  # this input was the last label
        else:
            text = codec.decode(inputs[begin : after + 1].tolist())
            lines += [Text(text.strip())] if lines else _folded(text)
    return lines


def _folded(text: str) -> list[Text]:
    """The lines of a text, without the middle of a long one."""
    lines = [Text(line) for line in text.split("\n")]
    hidden = len(lines) - 2 * LINES
    if hidden > 1:
        lines[LINES:-LINES] = [Text(f"… {hidden} lines", style="dim")]
    return lines
