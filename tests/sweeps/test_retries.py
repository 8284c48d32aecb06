"""Which runs a sweep repeats: after crashes on a shared GPU, failures, and edits of a plugin."""

import contextlib
import functools
import shutil

import pytest
from sweep_training import FAILS, PLUGIN, TAKES_ALL_DOWN, toy_record, toy_run, toy_runs

from recall_bench.config import RunConfig
from recall_bench.errors import UserError
from recall_bench.plugins import source as plugin_source
from recall_bench.registry import load_plugin
from recall_bench.store.runs import ResultStore, fingerprint
from recall_bench.sweeps import other_code
from recall_bench.sweeps.building import check
from recall_bench.sweeps.carry_out import run_sweep
from recall_bench.sweeps.local import LocalExecutor
from recall_bench.sweeps.view import View


@pytest.fixture
def store(tmp_path) -> ResultStore:
    load_plugin(PLUGIN)
    return ResultStore(tmp_path / "runs")


def executor(processes: int = 1, plugin=PLUGIN) -> LocalExecutor:
    return LocalExecutor(processes, "cpu", plugins=[plugin], train="sweep_training:train")


def test_neighbours_of_a_crash_on_a_shared_gpu_continue_one_at_a_time(store):
    culprit, neighbours = toy_run(window=TAKES_ALL_DOWN), toy_runs(3)
    pool = executor(3)
    pool._sharing = lambda: contextlib.nullcontext({})
    summary = run_sweep([neighbours[0], culprit, *neighbours[1:]], store, pool, view=View())
    assert [record.run_id for record in summary.failed] == [culprit.run_id]
    assert summary.finished == 3


def test_a_sweep_does_not_retry_what_another_has_retried_since_it_began(store):
    config = toy_run(window=FAILS)
    store.write(toy_record(config, "failed"))
    retry = {config.run_id: fingerprint(store.read(config.run_id))}

    class Late(LocalExecutor):
        def check(self, configs, store):
            run_sweep([config], store, executor(), retry_failed=True, view=View())
            return super().check(configs, store)

    late = Late(1, "cpu", plugins=[PLUGIN], train="sweep_training:train")
    summary = run_sweep([config], store, late, retry_failed=True, view=View())
    assert fingerprint(store.read(config.run_id)) != retry[config.run_id]
    assert len(summary.failed) == 1
    attempts = (store.directory(config.run_id) / "attempts.txt").read_text().splitlines()
    assert len(attempts) == 1


def test_a_plugin_that_changes_while_its_sweep_runs_stops_it(store, tmp_path, monkeypatch):
    config, other = toy_run(), tmp_path / PLUGIN.name
    shutil.copy(PLUGIN, other)
    assert plugin_source._of_file(other) == config.plugin_digest
    other.write_text(other.read_text() + "\n# edited\n")
    with pytest.raises(UserError, match="changed while the sweep ran"):
        run_sweep([config], store, executor(plugin=other), view=View())
    assert store.records() == []


def test_an_edited_plugin_is_another_run(store, monkeypatch):
    before = toy_run()
    store.write(toy_record(before))
    monkeypatch.setattr(plugin_source, "_digest", functools.cache(lambda cls: "f" * 16))
    after = toy_run()
    assert after.model_dump_json() == before.model_dump_json()
    assert after.run_id not in store.finished()
    assert store.records()[0].plugin_digest != after.plugin_digest == "f" * 16
    assert "1 run of the same configuration and other source" in other_code.note([after], store)
    assert other_code.note([before.model_copy(update={"seed": 5})], store) is None


@pytest.mark.parametrize(
    ("task", "architecture", "reason"),
    [
        ({"train": "64:4:10_000_000_000_000"}, {}, "The data of task mqar needs"),
        ({"vocab_size": 2**40}, {}, "Training attention needs"),
        ({}, {"d_model": 65536, "layers": "self*100"}, "Training attention needs"),
    ],
)
def test_sizes_beyond_the_memory_of_the_device_are_refused(task, architecture, reason):
    config = RunConfig(
        task={"name": "mqar", **task}, architecture={"name": "attention", **architecture}
    )
    check([config], room=None)
    with pytest.raises(UserError, match=reason + r" at least [\d,]+ GB .* has 64 GB"):
        check([config], room=64 * 10**9)
