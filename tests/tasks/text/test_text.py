from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from recall_bench.config import RunConfig
from recall_bench.errors import UserError
from recall_bench.tasks import generate
from recall_bench.tasks.text.text import PlainText
from recall_bench.testing import check_task
from recall_bench.training.loop import train

LINES = "".join(f"Town {n % 37} has {n * 7 % 101} people and {n % 3} wells .\n" for n in range(700))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "towns.txt"
    path.write_text(LINES)
    return path


def text(file: Path, **options: object) -> PlainText:
    return PlainText(**{"data": str(file), "length": 32, "vocab_size": 300, **options})


def test_text_keeps_the_contract(file: Path) -> None:
    check_task(text(file, tokenizer="bytes")).raise_if_failed()


def test_windows_put_in_order_are_the_text(file: Path) -> None:
    task = text(file, tokenizer="bytes")
    codec, made = task.codec(), generate(task, "test", 0, 0)
    rows = {codec.decode(row) for row in made.labels.tolist()}
    rest = LINES[LINES.index("\n", int(len(LINES) * 0.9)) + 1 :]
    windows = [rest[1:][at : at + 32] for at in range(0, len(rest) - 32, 32)]
    assert rows == set(windows)
    assert len(made.labels) == len(windows)


@pytest.mark.parametrize("rare", [0, 3, 1250])
def test_recall_is_what_completes_a_bigram_of_the_row_that_is_rare_in_training(
    file: Path, rare: int
) -> None:
    task = text(file, rare=rare)
    codec, made = task.codec(), generate(task, "test", 0, 0)
    lines = LINES.splitlines(keepends=True)
    share = task.report().counts["characters to train"]
    kept, so_far = [], 0
    for line in lines:
        if so_far < share:
            kept += codec.encode(line)
        so_far += len(line)
    counts = Counter(pairwise(kept))
    for row in range(20):
        tokens = [*made.inputs[row].tolist(), int(made.labels[row, -1])]
        pairs = list(pairwise(tokens))
        for at, pair in enumerate(pairs):
            again = pair in pairs[:at]
            assert int(made.slices["repeated"][row, at]) == again
            assert int(made.slices["recall"][row, at]) == (again and counts[pair] <= rare)


def test_the_record_has_the_loss_of_every_slice(file: Path) -> None:
    config = RunConfig(
        task={"name": "text", "data": str(file), "length": 32, "tokenizer": "bytes"},
        architecture={"name": "based", "d_model": 16},
        training={"epochs": 1, "batch_size": 64},
    )
    record = train(config, device="cpu")
    recall = [part for part in record.slices if part.name == "recall"]
    assert {part.value for part in recall} == {0, 1}
    total = sum(part.queries for part in recall)
    mean = sum((part.loss or 0) * part.queries for part in recall) / total
    assert mean == pytest.approx(record.test_loss, rel=1e-6)
    assert record.generation == []
    assert record.data["warnings"] == {"split without a file of its own, cut": 2}


def test_too_little_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("a\nb\nc\n")
    with pytest.raises(UserError, match=r"text is too short: .* windows have 32"):
        text(tmp_path / "short.txt").segments("train")
