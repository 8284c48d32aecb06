import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from recall_bench.config import RunConfig
from recall_bench.documents import cache
from recall_bench.errors import UserError
from recall_bench.tasks import data_hash
from recall_bench.training import batches, data_cache
from recall_bench.training.batches import load_split
from recall_bench.training.loop import train

CPU = torch.device("cpu")
TASK = {
    "name": "mqar",
    "vocab_size": 32,
    "train": "16:2:96,24:3:64",
    "validation": "16:2:40",
    "test": "16:2:40,24:4:40",
}


def run(**changes: object) -> RunConfig:
    fields = {
        "task": TASK,
        "architecture": {"name": "attention", "d_model": 16},
        "training": {"epochs": 2, "batch_size": 32, "early_stop": None, "learning_rate": 1e-2},
        **changes,
    }
    return RunConfig(**fields)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a process that keeps nothing between calls."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    monkeypatch.setattr(batches, "_recent", Nothing())
    return tmp_path / "generated"


class Nothing(dict):
    def __contains__(self, key: object) -> bool:
        return False


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The splits that are generated from here on."""
    splits: list[str] = []
    original = batches._generate

    def generate(task, split, seed):
        splits.append(split)
        return original(task, split, seed)

    monkeypatch.setattr(batches, "_generate", generate)
    return splits


def content(split: str = "test", seed: int = 0) -> list[torch.Tensor]:
    data, _ = load_split(run().task, split, seed, CPU)
    tensors = [(part.inputs, part.positions, part.targets) for part in data]
    return [tensor.clone() for three in tensors for tensor in three]


def test_the_second_load_reads_what_the_first_one_made(made: list[str]) -> None:
    (first, first_hash), (again, again_hash) = (
        load_split(run().task, "test", 0, CPU) for _ in range(2)
    )
    assert made == ["test"]
    assert first_hash == again_hash == data_hash(run().task, "test", 0)
    for one, other in zip(first, again, strict=True):
        assert one.segment == other.segment
        for name in ("inputs", "positions", "targets"):
            x, y = getattr(one, name), getattr(other, name)
            assert x.dtype == y.dtype
            assert torch.equal(x, y)
        assert one.slices.keys() == other.slices.keys()
        for name, value in one.slices.items():
            other_value = other.slices[name]
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(other_value))


def test_records_are_the_same_with_and_without_the_cache(monkeypatch, made: list[str]) -> None:
    def scores() -> dict:
        record = train(run(), device="cpu")
        kept = {"data_hash", "test_loss", "test_accuracy", "validation_accuracy", "segments"}
        return record.model_dump(include={*kept, "slices", "run_id", "versions"})

    fresh, cached = scores(), scores()
    monkeypatch.setenv(data_cache.VARIABLE, "0")
    assert fresh == cached == scores()
    assert len(made) == 3 + 0 + 3


def test_another_seed_split_version_or_option_is_another_entry(made: list[str]) -> None:
    task = run().task
    keys = {
        data_cache._key(task, "test", 0),
        data_cache._key(task, "test", 1),
        data_cache._key(task, "train", 0),
        data_cache._key(task.model_copy(update={"vocab_size": 64}), "test", 0),
    }
    assert len(keys) == 4
    version = type(task).version
    type(task).version = version + 1
    try:
        assert data_cache._key(task, "test", 0) not in keys
    finally:
        type(task).version = version


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "other"])
def test_a_damaged_entry_is_made_again(folder: Path, made: list[str], damage: str) -> None:
    expected = content()
    (file,) = folder.glob("*.pt")
    whole = bytearray(file.read_bytes())
    tokens = expected[0].numpy().tobytes()
    at = bytes(whole).index(tokens)
    whole[at] ^= 1
    cut = bytes(whole[: len(whole) // 2])
    file.write_bytes({"flip": bytes(whole), "cut": cut, "empty": b"", "other": b"no zip"}[damage])
    assert all(map(torch.equal, content(), expected))
    assert all(map(torch.equal, content(), expected))
    assert made == ["test", "test"]


def test_writing_to_loaded_tensors_leaves_the_entry_alone() -> None:
    expected = content()
    load_split(run().task, "test", 0, CPU)[0][0].inputs.zero_()
    assert all(map(torch.equal, content(), expected))


def test_the_longest_unused_entries_go_once_the_limit_is_reached(
    folder: Path, made: list[str], monkeypatch
) -> None:
    for age, seed in ((300, 0), (200, 1), (100, 2)):
        known = set(folder.glob("*.pt"))
        content(seed=seed)
        (new,) = set(folder.glob("*.pt")) - known
        os.utime(new, (new.stat().st_mtime - age,) * 2)
    content(seed=0)  # now the youngest
    size = new.stat().st_size
    monkeypatch.setenv(data_cache.VARIABLE, str(3.5 * size / 2**30))
    content(seed=3)
    assert len(list(folder.glob("*.pt"))) == 3
    made.clear()
    for seed in (0, 2, 3):
        content(seed=seed)
    assert made == []
    content(seed=1)
    assert made == ["test"]


def test_processes_that_need_the_same_entry_make_it_once(made: list[str]) -> None:
    with ThreadPoolExecutor(4) as pool:
        all_of_them = list(pool.map(lambda _: content(), range(4)))
    assert made == ["test"]
    for one in all_of_them:
        assert all(map(torch.equal, one, all_of_them[0]))


def test_a_cache_that_cannot_be_written_costs_a_warning_and_no_run(
    tmp_path: Path, monkeypatch, made: list[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="Generated data are not cached. Cannot write"):
        content()
    assert made == ["test"]


def test_tasks_whose_examples_are_a_list_or_whose_source_is_unknown_are_not_cached() -> None:
    kind = type(run().task)
    listed = type("Listed", (kind,), {"block": lambda *_: None})
    unknown = type("Unknown", (kind,), {"__module__": "nowhere"})
    with warnings.catch_warnings():
        for cls in (listed, unknown):
            assert data_cache._key(cls.model_construct(**dict(run().task)), "test", 0) is None


def test_a_limit_that_is_no_number_is_refused(monkeypatch) -> None:
    monkeypatch.setenv(data_cache.VARIABLE, "many")
    with pytest.raises(UserError, match="RECALL_BENCH_DATA_GIB is 'many'"):
        content()
