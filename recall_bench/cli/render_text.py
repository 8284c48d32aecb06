"""An example whose tokens are text, for a person to read."""

from rich.text import Text
from torch import Tensor

from recall_bench.documents.tokens import Codec
from recall_bench.tasks.base import IGNORE, answer_runs

LINES = 12
"""Lines shown of the beginning and of the end of an example."""


def text_lines(codec: Codec, inputs: Tensor, labels: Tensor) -> list[Text]:
    """The text of an example, (length,) inputs and labels, without padding; then the answer, and
    further questions with theirs where there are any.

    The middle of a long one is left out. Where nearly everything is asked there is no answer.
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
    """The lines of a text, those in the middle of a long one left out."""
    lines = [Text(line) for line in text.split("\n")]
    left_out = len(lines) - 2 * LINES
    if left_out > 1:
        lines[LINES:-LINES] = [Text(f"… {left_out} lines", style="dim")]
    return lines
