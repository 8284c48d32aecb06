import errno
import json
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from sweep_training import toy_record, toy_run

from recall_bench.errors import UserError
from recall_bench.store import claims, files
from recall_bench.store import runs as store
from recall_bench.store.export import export, load, restore
from recall_bench.store.files import StoreError
from recall_bench.store.record import SCHEMA
from recall_bench.store.runs import ResultStore, fingerprint
from recall_bench.store.table import NUMBERS

spawn = multiprocessing.get_context("spawn")


@pytest.fixture
def results(tmp_path: Path) -> ResultStore:
    """A store with a finished, a diverged and a failed run."""
    made = ResultStore(tmp_path / "runs")
    made.write(toy_record(toy_run(0), accuracy=0.75))
    made.write(toy_record(toy_run(1), "diverged"))
    made.write(toy_record(toy_run(2), "failed"))
    return made


def leftovers(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.rglob("*.tmp"))


def test_a_record_reads_back_as_it_was_written(results):
    record = toy_record(toy_run(0), accuracy=0.75)
    assert results.read(record.run_id) == record
    assert [found.status for found in results.records()].count("finished") == 1
    assert results.find(record.run_id) == record
    assert results.finished()[record.run_id] == "finished"
    assert len(results.finished()) == 3
    assert results.skipped == []


def test_numbers_that_are_not_finite_survive_the_disk(tmp_path):
    results = ResultStore(tmp_path)
    record = toy_record(toy_run(), "diverged")
    curve = [record.curve[0].model_copy(update={"train_loss": float("nan")})]
    results.write(record.model_copy(update={"curve": curve}))
    loss = results.read(record.run_id).curve[0].train_loss
    assert loss != loss


def test_the_frame_has_the_same_columns_and_types_for_any_records(results, tmp_path):
    empty = ResultStore(tmp_path / "nothing").frame()
    full = results.frame()
    assert list(empty) == list(full)
    assert len(empty) == 0
    assert list(full["run_id"]) == sorted(full["run_id"])
    for column in NUMBERS:
        assert full[column].dtype == empty[column].dtype == "float64"


def test_a_store_that_does_not_exist_is_empty_and_is_not_created_by_reading(tmp_path):
    results = ResultStore(tmp_path / "nothing")
    assert results.finished() == {}
    assert results.records() == []
    assert not results.path.exists()
    with pytest.raises(UserError, match="has no record of run 'x'"):
        results.read("x")


def test_a_file_is_refused_as_a_store(tmp_path):
    file = tmp_path / "runs"
    file.touch()
    with pytest.raises(UserError, match="is a file; expected a directory"):
        ResultStore(file)
    with pytest.raises(UserError, match=r"is a file\. Expected a directory"):
        ResultStore(file / "deeper").prepare()


def test_a_read_only_store_is_named_before_anything_runs(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(store.tempfile, "TemporaryFile", refuse)
    with pytest.raises(StoreError, match=r"it is read-only\. Expected a directory"):
        ResultStore(tmp_path).prepare()


def test_a_claim_in_a_read_only_store_is_a_user_error(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(claims.os, "open", refuse)
    with pytest.raises(StoreError, match="read-only"):
        ResultStore(tmp_path).claim(toy_run())


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_full_disk_loses_nothing_that_is_finished(results, monkeypatch, call):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    before = results.records()
    monkeypatch.setattr(files.os, call, full)
    with pytest.raises(StoreError, match="the disk is full"):
        results.write(toy_record(toy_run(0), accuracy=0.25))
    with pytest.raises(StoreError, match="the disk is full"):
        results.write(toy_record(toy_run(9)))
    monkeypatch.undo()
    assert results.records() == before
    assert leftovers(results.path) == []


def test_what_cannot_be_read_is_skipped_and_named_and_stays(results):
    whole = results.directory(toy_run(0).run_id) / "record.json"
    text = whole.read_text()
    bad = {
        "truncated": text[: len(text) // 2],
        "foreign": '{"hello": "world"}',
        "newer": json.dumps(json.loads(text) | {"schema_version": SCHEMA + 1}),
        "renamed": text,
        "binary": "\0\1",
    }
    for name, content in bad.items():
        results.directory(name).mkdir()
        (results.directory(name) / "record.json").write_text(content)
    (results.path / "notes.txt").touch()
    (results.path / "figures").mkdir()
    (results.path / ".hidden").touch()
    results.claim(toy_run(7)).release()

    assert len(results.records()) == 3
    reasons = {path.relative_to(results.path).parts[0]: why for path, why in results.skipped}
    assert reasons.keys() == {*bad, "notes.txt", "figures"}
    assert "newer recall-bench" in reasons["newer"]
    assert "not of its directory" in reasons["renamed"]
    assert "Invalid JSON" in reasons["truncated"]
    assert all((results.directory(name) / "record.json").exists() for name in bad)
    assert len(results.finished()) == 3
    assert len(results.skipped) == len(reasons)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_an_export_loads_as_the_store_does(results, tmp_path, suffix):
    file = tmp_path / f"all{suffix}"
    export(results, file)
    frame, skipped = load(file)
    assert skipped == []
    pd.testing.assert_frame_equal(frame, results.frame())
    pd.testing.assert_frame_equal(load(results.path)[0], results.frame())
    export(frame.sample(frac=1, random_state=0), tmp_path / f"again{suffix}")
    assert (tmp_path / f"again{suffix}").read_bytes() == file.read_bytes()
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_store_restored_from_an_export_holds_the_same_and_keeps_what_it_had(
    results, tmp_path, suffix
):
    file, other = tmp_path / f"all{suffix}", ResultStore(tmp_path / "other")
    export(results, file)
    kept = results.records()[0].model_copy(update={"reason": "as it was"})
    other.write(kept)
    assert restore(file, other) == (len(results.records()) - 1, 1, 0, [])
    assert other.read(kept.run_id).reason == "as it was"
    assert [r for r in other.records() if r.run_id != kept.run_id] == results.records()[1:]
    assert restore(file, other) == (0, len(results.records()), 0, [])


def test_bad_lines_of_an_export_are_skipped_and_named(results, tmp_path):
    file = tmp_path / "all.jsonl"
    export(results, file)
    lines = file.read_text().splitlines()
    other = lines[0].replace("2024-01-01", "2025-01-01")
    assert other != lines[0]
    file.write_text("\n".join([*lines, lines[0], other, "", "{}", lines[1][:50]]))
    frame, skipped = load(file)
    assert len(frame) == 3
    *reasons, repeats = [why for _, why in skipped]
    assert [why.split(":")[0] for why in reasons] == ["record 5", "record 6", "record 7"]
    assert "with another outcome" in reasons[0]
    assert repeats == "1 of its records repeat others"
    done = restore(file, ResultStore(tmp_path / "other"))
    assert (done.written, done.repeated, len(done.skipped)) == (3, 1, 3)


def test_files_that_are_no_export_are_user_errors(results, tmp_path):
    with pytest.raises(UserError, match=r"Expected one of \.jsonl, \.parquet"):
        export(results, tmp_path / "all.csv")
    with pytest.raises(UserError, match="does not exist"):
        load(tmp_path / "missing.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="is not an export"):
        load(tmp_path / "broken.parquet")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(UserError, match="is not an export"):
        load(tmp_path / "other.parquet")


def test_a_claim_is_exclusive_until_it_is_released(tmp_path):
    config = toy_run()
    mine, other = ResultStore(tmp_path), ResultStore(tmp_path)
    with mine.claim(config):
        assert other.claim(config) is None
        assert other.held(config.run_id)
    assert not other.held(config.run_id)
    with other.claim(config) as claim:
        assert claim.number == 2
        (mine.directory(config.run_id) / "checkpoint.pt").touch()
        other.write(toy_record(config))
    assert mine.claim(config) is None
    names = {path.name for path in mine.directory(config.run_id).iterdir()}
    assert names == {"config.json", "record.json"}


def test_a_heartbeat_keeps_a_claim_beyond_its_timeout(tmp_path):
    results = ResultStore(tmp_path, timeout=0.5, heartbeat=0.05)
    with results.claim(toy_run()):
        time.sleep(0.8)
        assert results.claim(toy_run()) is None


def test_a_claim_without_a_heartbeat_is_taken_over_and_knows_that_it_is_lost(tmp_path):
    slow = ResultStore(tmp_path, heartbeat=0.3)
    eager = ResultStore(tmp_path, timeout=0.1)
    with slow.claim(toy_run()) as claim:
        time.sleep(0.2)
        with eager.claim(toy_run()) as taken:
            assert taken.number == 2
            time.sleep(0.3)
            assert claim.lost
            assert not taken.lost


def test_the_claim_of_a_dead_process_is_free_at_once(tmp_path):
    script = (
        "import os, sys; from recall_bench.store.runs import ResultStore;"
        "from sweep_training import toy_run;"
        "ResultStore(sys.argv[1]).claim(toy_run()); os._exit(9)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], env=environment)
    assert claims.numbers(tmp_path / toy_run().run_id) == [1]
    with ResultStore(tmp_path).claim(toy_run()) as claim:
        assert claim.number == 2


@pytest.mark.parametrize("content", ["", '{"host": "elsewhere", "pid": 1, "process": "1"}'])
def test_a_claim_from_elsewhere_is_live_until_its_heartbeat_is_old(tmp_path, content):
    results = ResultStore(tmp_path)
    file = results.directory(toy_run().run_id) / "claim.1.json"
    file.parent.mkdir()
    file.write_text(content)
    assert results.claim(toy_run()) is None
    old = time.time() - 61
    os.utime(file, (old, old))
    with results.claim(toy_run()) as claim:
        assert claim.number == 2


def test_a_process_id_that_was_used_again_does_not_hold_a_claim(tmp_path):
    results = ResultStore(tmp_path)
    results.claim(toy_run())
    file = results.directory(toy_run().run_id) / "claim.1.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"process": "long ago"}))
    with results.claim(toy_run()) as claim:
        assert claim.number == 2


def test_a_claim_numbered_before_the_run_was_finished_and_claimed_anew_is_withdrawn(
    tmp_path, monkeypatch
):
    directory = ResultStore(tmp_path).directory(toy_run().run_id)
    directory.mkdir()
    claims.take(directory).release()
    create, rivals = os.open, []

    def overtaken(path, *rest):
        if str(path).endswith("claim.2.json"):
            claims.remove(directory)
            rivals.append(claims.take(directory))
        return create(path, *rest)

    monkeypatch.setattr(claims.os, "open", overtaken)
    late = claims.take(directory)
    assert late is None
    assert claims.numbers(directory) == [rivals[0].number] == [1]
    rivals[0].release()


def test_failed_runs_are_claimed_only_on_request_and_their_record_is_set_aside(results):
    config = toy_run(2)
    assert results.claim(config) is None
    retry = fingerprint(results.read(config.run_id))
    with results.claim(config, retry):
        assert results.find(config.run_id) is None
        assert (results.directory(config.run_id) / "aside.1.json").exists()
    diverged = toy_run(1)
    assert results.claim(diverged, fingerprint(results.read(diverged.run_id))) is None


def test_a_failed_run_is_not_repeated_once_another_sweep_has_retried_it(results):
    config = toy_run(2)
    retry = fingerprint(results.read(config.run_id))
    with results.claim(config, retry) as claim:
        again = toy_record(config, "failed").model_copy(update={"reason": "once more"})
        assert results.write(again, claim)
    assert results.claim(config, retry) is None
    assert results.claim(config, fingerprint(results.read(config.run_id)))


def test_a_worker_whose_claim_another_took_over_cannot_write(tmp_path):
    results = ResultStore(tmp_path, timeout=0.0)
    stopped = results.claim(toy_run())
    successor = results.claim(toy_run())
    assert not results.write(toy_record(toy_run(), accuracy=0.25), stopped)
    assert results.find(toy_run().run_id) is None
    assert results.write(toy_record(toy_run(), accuracy=0.75), successor)
    assert not results.write(toy_record(toy_run(), accuracy=0.25), stopped)
    assert results.read(toy_run().run_id).test_accuracy == 0.75


def compete(path, barrier, wins) -> None:
    results = ResultStore(path)
    for seed in range(20):
        barrier.wait()
        claim = results.claim(toy_run(seed))
        if claim is not None:
            wins.put((seed, os.getpid()))
    barrier.wait()


def test_exactly_one_of_eight_processes_wins_each_claim(tmp_path):
    for seed in range(10):
        stale = tmp_path / toy_run(seed).run_id / "claim.3.json"
        stale.parent.mkdir()
        stale.touch()
        os.utime(stale, (0, 0))
    barrier, wins = spawn.Barrier(8), spawn.Queue()
    processes = [spawn.Process(target=compete, args=(tmp_path, barrier, wins)) for _ in range(8)]
    for process in processes:
        process.start()
    won = [wins.get(timeout=120)[0] for _ in range(20)]
    for process in processes:
        process.join()
    assert sorted(won) == list(range(20))
    assert wins.empty()
    wins.close()
    wins.join_thread()


def test_the_store_never_imports_torch():
    script = "import sys, recall_bench.store.runs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
