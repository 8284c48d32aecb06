import pytest
import torch
from solvers.documents import answer

from recall_bench.tasks import IGNORE, generate
from recall_bench.tasks.text.documents import Documents
from recall_bench.testing import check_task

SMALL = {"train": "256:200", "validation": "256:40", "test": "256:64,384:32"}


def test_documents_keep_the_contract() -> None:
    check_task("documents", **SMALL).raise_if_failed()


def test_byte_pairs_say_the_same_in_fewer_tokens() -> None:
    task = Documents(tokenizer="bpe", vocab_size=600, **SMALL)
    codec, segment = task.codec(), task.segments("test")[0]
    made = task.examples(segment, torch.Generator().manual_seed(0), 8)
    assert int(made.inputs.max()) < task.tokens == 600
    for inputs, labels in zip(made.inputs.tolist(), made.labels.tolist(), strict=True):
        text = codec.decode(inputs)
        assert ". " in text
        assert len(text.encode()) > sum(token != codec.pad for token in inputs)
        assert codec.decode(token for token in labels if token != IGNORE).startswith(" ")


@pytest.mark.parametrize("kinds", ["product", "filing", "directory"])
def test_a_reader_of_the_prompt_alone_finds_every_answer(kinds: str) -> None:
    # Rows long enough for whole documents: nothing that a reader needs is cut off.
    task = Documents(kinds=kinds, train="2048:1", validation="2048:1", test="2048:150")
    codec = task.codec()
    made = task.examples(task.segments("test")[0], torch.Generator().manual_seed(5), 150)
    whole = 0
    for inputs, labels in zip(made.inputs, made.labels, strict=True):
        if int(inputs[0]) != codec.pad:
            continue
        whole += 1
        asked = labels != IGNORE
        prompt = codec.decode(inputs[: int(asked.nonzero()[0]) + 1].tolist())
        assert answer(prompt) == codec.decode(labels[asked].tolist()).strip()
    assert whole > 100


def test_training_rows_end_with_the_end_of_the_line_and_others_with_the_answer() -> None:
    task = Documents(**SMALL)
    for split, ends in (("train", True), ("test", False)):
        labels = generate(task, split, 0, 0).labels
        assert ((labels[:, -1] == ord("\n")) == ends).all()


def test_the_gap_is_the_distance_to_the_value_rounded_up() -> None:
    task = Documents(**SMALL)
    made = generate(task, "test", 0, 0)
    for inputs, labels, gap in zip(made.inputs, made.labels, made.slices["gap"], strict=True):
        asked = (labels != IGNORE).nonzero().flatten()
        at, value = int(asked[0]), labels[asked].tolist()[1:]  # without the space before it
        # The value occurs in the row, at a place from where a window of `gap` tokens reaches it.
        row = inputs.tolist()
        starts = [s for s in range(at) if row[s : s + len(value)] == value]
        exact = [at - s + 1 for s in starts]
        assert any(distance <= int(gap[at]) < 2 * distance for distance in exact)


def test_rows_too_short_for_a_question_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected length >= 128, got 64"):
        Documents(train="64:10")
