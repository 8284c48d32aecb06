"""An example whose tokens are text, for a person to read."""

from rich.text import Text
from torch import Tensor

from recall_bench.documents.tokens import Codec
from recall_bench.tasks.base import IGNORE

LINES = 12
"""Lines shown of the beginning and of the end of an example."""


def text_lines(codec: Codec, inputs: Tensor, labels: Tensor) -> list[Text]:
    """The text of an example, (length,) inputs and labels, without padding; then the answer.

    The middle of a long one is left out. Where nearly everything is asked there is no answer.
    """
    asked = labels != IGNORE
    shown = inputs[inputs != codec.pad]
    answer = ""
    if 2 * int(asked.sum()) < len(shown):
        first = int(asked.nonzero()[0])
        shown = inputs[: first + 1]
        answer = codec.decode(labels[asked].tolist()).strip()
    lines = codec.decode(shown[shown != codec.pad].tolist()).split("\n")
    left_out = len(lines) - 2 * LINES
    texts = [Text(line) for line in lines]
    if left_out > 1:
        fold = Text(f"… {left_out} lines", style="dim")
        texts = [*texts[:LINES], fold, *texts[-LINES:]]
    return [*texts, Text.assemble(("answer ", "dim"), (answer, "bold cyan"))] if answer else texts
