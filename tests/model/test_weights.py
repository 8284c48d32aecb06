import json
from pathlib import Path

import pytest
import torch
from command_line import SMOKE, Command

from recall_bench.config import RunConfig
from recall_bench.errors import UserError
from recall_bench.model.weights import WEIGHTS, load_weights
from recall_bench.store.record import TrainingRecord
from recall_bench.store.runs import ResultStore
from recall_bench.training.batches import load_split
from recall_bench.training.loop import train
from recall_bench.training.scores import evaluate
from recall_bench.training.scoring import score


def run(**changes: object) -> RunConfig:
    fields = {
        "task": {
            "name": "mqar",
            "vocab_size": 32,
            "train": "16:2:64",
            "validation": "16:2:32",
            "test": "16:2:32",
        },
        "architecture": {"name": "based", "d_model": 16},
        "training": {"epochs": 1, "batch_size": 32},
        **changes,
    }
    return RunConfig(**fields)


def questions(tmp_path: Path, tokenizer: str) -> dict[str, object]:
    """A task of text: towns and how many live there."""
    rows = [
        {
            "text": f"Town {n} lies in the north. It has {n * 31} people. In town {n} live ",
            "value": f"{n * 31} people",
        }
        for n in range(40)
    ]
    (tmp_path / "towns.json").write_text(json.dumps(rows))
    return {
        "name": "squad",
        "data": str(tmp_path / "towns.json"),
        "length": 128,
        "tokenizer": tokenizer,
        "vocab_size": 300,
        "test_share": 0.3,
    }


def test_the_model_made_of_kept_weights_says_what_the_trained_one_said(tmp_path: Path) -> None:
    record = train(run(), directory=tmp_path, device="cpu", keep=True)
    kept = load_weights(record, tmp_path, torch.device("cpu"))
    data, _ = load_split(run().task, "test", run().seed, torch.device("cpu"))
    said = evaluate(score(kept.model, data, 32), data, "test")
    assert said.loss == pytest.approx(record.test_loss)
    assert not kept.model.training
    assert kept.codec is None


@pytest.mark.parametrize("tokenizer", ["bytes", "bpe"])
def test_kept_weights_bring_their_tokens_along(
    tokenizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECALL_BENCH_CACHE", str(tmp_path / "cache"))
    config = run(task=questions(tmp_path, tokenizer))
    record = train(config, directory=tmp_path, device="cpu", keep=True)
    before = config.task.codec()
    for file in (tmp_path / "towns.json", *(tmp_path / "cache").rglob("*.json")):
        file.unlink()
    kept = load_weights(record, tmp_path, torch.device("cpu"))
    assert kept.codec is not None
    text = "Town 17 lies in the north:\n527 people, né?"
    assert kept.codec.encode(text) == before.encode(text)
    assert kept.codec.decode(kept.codec.encode(text)) == text
    assert kept.codec.stops == before.stops


def test_weights_are_kept_where_asked_for_alone(recall_bench: Command, tmp_path: Path) -> None:
    words = ("sweep", "--arch", "short-conv", "--d-model", 16, *SMOKE)
    recall_bench(*words, "--store", "without").succeeded()
    recall_bench(*words, "--store", "with", "--keep-weights").succeeded()
    assert not list((tmp_path / "without").rglob(WEIGHTS))
    (file,) = (tmp_path / "with").rglob(WEIGHTS)
    (record,) = ResultStore(tmp_path / "with").records()
    assert isinstance(record, TrainingRecord)
    assert load_weights(record, file.parent, torch.device("cpu")).model


def test_a_run_without_weights_says_how_to_keep_them(tmp_path: Path) -> None:
    config = run()
    record = TrainingRecord(
        run_id=config.run_id,
        status="finished",
        config=config.model_dump(mode="json"),
        versions=config.versions,
        started="",
        finished="",
    )
    with pytest.raises(UserError, match="--keep-weights"):
        load_weights(record, tmp_path, torch.device("cpu"))
    (tmp_path / WEIGHTS).write_bytes(b"no weights")
    with pytest.raises(UserError, match="cannot be read"):
        load_weights(record, tmp_path, torch.device("cpu"))
