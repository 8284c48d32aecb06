import io
import re
import sys
import threading

import pytest
from rich.console import Console
from sweep_training import (
    DIES,
    DIES_ONCE,
    DIVERGES,
    FAILS,
    FILLS_THE_DISK,
    LOSES_ITS_GPU,
    PLUGIN,
    WARNS,
    Progress,
    toy_record,
    toy_run,
    toy_runs,
)

from recall_bench.errors import UserError
from recall_bench.registry import load_plugin
from recall_bench.store.runs import ResultStore
from recall_bench.sweeps import carry_out as sweep
from recall_bench.sweeps.building import check
from recall_bench.sweeps.carry_out import run_sweep
from recall_bench.sweeps.expand import expand
from recall_bench.sweeps.local import LocalExecutor, concurrent_runs
from recall_bench.sweeps.view import Board, LiveView, PlainView, View, table
from recall_bench.sweeps.worker import Ended, Progressed, Skipped, Started, Warned


@pytest.fixture(autouse=True)
def _toys(monkeypatch):
    load_plugin(PLUGIN)
    monkeypatch.setattr(sweep, "POLL", 0.05)


@pytest.fixture
def store(tmp_path) -> ResultStore:
    return ResultStore(tmp_path / "runs")


def executor(processes: int = 1, train: str = "sweep_training:train") -> LocalExecutor:
    return LocalExecutor(processes, "cpu", plugins=[PLUGIN], train=train)


class Witness(View):
    def __init__(self):
        self.events, self.notes = [], []

    def show(self, event):
        self.events.append(event)

    def note(self, message):
        self.notes.append(message)

    def kinds(self):
        return [type(event) for event in self.events if not isinstance(event, Progressed)]


def attempts(store: ResultStore, run_id: str) -> list[str]:
    return (store.directory(run_id) / "attempts.txt").read_text().splitlines()


def test_expand_crosses_everything_once_in_an_order_that_covers_all_points_first():
    runs = expand(
        task={"name": "toy"},
        architectures=[{"name": "toy-mixer", "window": w} for w in (1, "2", 2)],
        learning_rates=[1e-3, 1e-2, 1e-1],
        seeds=[0, 1],
        training={"epochs": "3", "early_stop": None},
    )
    found = [(r.seed, r.training.learning_rate, r.architecture.window) for r in runs]
    assert found[:4] == [(0, 1e-2, 1), (0, 1e-2, 2), (0, 1e-3, 1), (0, 1e-3, 2)]
    assert len(found) == len(set(found)) == 2 * 3 * 2
    assert {run.training.epochs for run in runs} == {3}
    assert [run.seed for run in runs] == [0] * 6 + [1] * 6


def test_expand_refuses_what_is_out_of_range_with_a_user_error():
    points = [{"name": "toy-mixer"}]
    with pytest.raises(UserError, match="Did you mean 'window'"):
        expand(
            task={"name": "toy"},
            architectures=[{"name": "toy-mixer", "windw": 1}],
            learning_rates=[1e-3],
            seeds=[0],
        )
    with pytest.raises(UserError, match="learning_rate"):
        expand(task={"name": "toy"}, architectures=points, learning_rates=[-1.0], seeds=[0])
    with pytest.raises(UserError, match="epochs"):
        expand(
            task={"name": "toy"},
            architectures=points,
            learning_rates=[1e-3],
            seeds=[0],
            training={"epochs": 0},
        )


def test_what_cannot_be_built_is_refused_before_anything_runs(store):
    with pytest.raises(
        UserError, match=r"toy-mixer .*window=65 cannot be built: ValueError: window"
    ):
        run_sweep([toy_run(), toy_run(window=65)], store, executor(), view=View())
    assert not store.path.exists()
    odd = toy_run().model_copy(update={"task": toy_run().task.model_copy(update={"length": 7})})
    with pytest.raises(UserError, match="train data of task toy length=7"):
        check([odd])


def test_a_sweep_runs_everything_skips_it_the_next_time_and_grows(store):
    witness = Witness()
    summary = run_sweep(toy_runs(3), store, executor(2), view=witness)
    assert (summary.total, summary.before, summary.finished, summary.failed) == (3, 0, 3, [])
    assert len(store.records()) == 3
    assert witness.kinds().count(Started) == witness.kinds().count(Ended) == 3
    progress = [event.progress for event in witness.events if isinstance(event, Progressed)]
    assert max(point.step for point in progress) == 10
    workers = {attempts(store, run.run_id)[0] for run in toy_runs(3)}
    assert len(workers) <= 2

    again = Witness()
    assert run_sweep(toy_runs(3) * 2, store, executor(2), view=again).before == 3
    assert again.events == []
    assert run_sweep(toy_runs(4), store, executor(2), view=again).before == 3
    assert len(attempts(store, toy_run(0).run_id)) == 1


def test_failed_and_diverged_runs_are_recorded_and_only_failed_ones_retried_on_request(store):
    configs = [toy_run(window=FAILS), toy_run(window=DIVERGES), toy_run(window=WARNS)]
    witness = Witness()
    summary = run_sweep(configs, store, executor(), view=witness)
    assert (summary.finished, summary.diverged, len(summary.failed)) == (1, 1, 1)
    reason = store.read(configs[0].run_id).reason
    assert reason.startswith("ValueError: this run fails\n")
    assert "sweep_training.py" in reason
    warned = [event for event in witness.events if isinstance(event, Warned)]
    assert [(event.run_id, event.message) for event in warned] == [
        (configs[2].run_id, "this run warns")
    ]

    run_sweep(configs, store, executor(), view=View())
    assert len(attempts(store, configs[0].run_id)) == 1
    run_sweep(configs, store, executor(), retry_failed=True, view=View())
    assert [len(attempts(store, config.run_id)) for config in configs] == [2, 1, 1]
    assert store.finished()[configs[0].run_id] == "failed"


def test_a_run_whose_process_dies_is_continued_once_and_then_failed(store):
    configs = [toy_run(window=DIES), toy_run(window=DIES_ONCE), toy_run()]
    witness = Witness()
    summary = run_sweep(configs, store, executor(), view=witness)
    assert [record.run_id for record in summary.failed] == [configs[0].run_id]
    assert summary.failed[0].reason.startswith("its process died 2 times: it got SIGKILL.")
    assert summary.finished == 2
    assert [len(attempts(store, config.run_id)) for config in configs] == [2, 2, 1]
    assert witness.kinds().count(Warned) == 2


def test_a_run_that_lost_its_gpu_is_continued_by_a_fresh_process(store):
    config, witness = toy_run(window=LOSES_ITS_GPU), Witness()
    summary = run_sweep([config, toy_run()], store, executor(), view=witness)
    assert summary.finished == 2
    first, second = attempts(store, config.run_id)
    assert first != second
    (warned,) = [event for event in witness.events if isinstance(event, Warned)]
    assert "The GPU failed. DeviceLost: an illegal memory access" in warned.message


def test_workers_that_do_not_start_are_an_error_and_not_failed_runs(store, monkeypatch):
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(UserError, match="do not start: one ended with exit code 1"):
        run_sweep([toy_run()], store, executor(), view=View())
    assert store.finished() == {}


def test_a_trainer_that_does_not_import_is_an_error_with_its_traceback(store):
    with pytest.raises(RuntimeError, match="No module named 'missing'"):
        run_sweep([toy_run()], store, executor(train="missing:train"), view=View())


def test_a_full_disk_stops_the_sweep_and_keeps_what_is_finished(store):
    configs = [toy_run(), toy_run(window=FILLS_THE_DISK), toy_run(1)]
    with pytest.raises(UserError, match="the disk is full"):
        run_sweep(configs, store, executor(), view=View())
    assert store.finished() == {configs[0].run_id: "finished"}
    assert not store.held(configs[1].run_id)


def test_threads_share_the_cores_among_the_processes(store, monkeypatch):
    monkeypatch.setattr("recall_bench.sweeps.local.cores", lambda: 8)
    assert LocalExecutor(device="cpu").processes == 8
    assert LocalExecutor(3, "cpu").threads == 2
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert LocalExecutor(device="cuda").processes == 2
    assert LocalExecutor(device="cuda:1").processes == 1
    run_sweep([toy_run()], store, executor(2), view=View())
    assert attempts(store, toy_run().run_id)[0].split()[1] == "4"


@pytest.mark.parametrize(
    ("runs", "cores", "expected"),
    [
        (1, 2, 2),
        (2, 2, 2),
        (3, 2, 3),
        (4, 2, 2),
        (5, 2, 3),
        (36, 2, 2),
        (9, 8, 9),
        (40, 8, 8),
        (5, 1, 1),
        (0, 4, 4),
    ],
)
def test_the_last_runs_of_a_sweep_leave_no_core_idle(runs, cores, expected):
    assert concurrent_runs(runs, cores) == expected


def test_the_cores_decide_the_number_of_processes_unless_it_or_a_gpu_is_given(monkeypatch):
    monkeypatch.setattr("recall_bench.sweeps.local.cores", lambda: 2)
    assert LocalExecutor(device="cpu").settle_processes(3) == 3
    assert LocalExecutor(2, "cpu").settle_processes(3) == 2
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert LocalExecutor(device="cuda").settle_processes(3) == 2


def test_two_sweeps_on_one_store_share_the_runs_and_both_end_with_all(store, monkeypatch):
    summaries = []

    def one_sweep() -> None:
        mine = ResultStore(store.path)
        summaries.append(run_sweep(toy_runs(8), mine, executor(), view=View()))

    threads = [threading.Thread(target=one_sweep) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [summary.finished for summary in summaries] == [8, 8]
    tried = [attempts(store, run.run_id) for run in toy_runs(8)]
    assert all(len(lines) == 1 for lines in tried)
    assert len({line for lines in tried for line in lines}) == 2


def test_a_run_that_another_process_gives_up_is_taken_over(store):
    claim = store.claim(toy_run())

    class Generous(Witness):
        def show(self, event):
            super().show(event)
            if isinstance(event, Skipped):
                claim.release()

    view = Generous()
    assert run_sweep([toy_run()], store, executor(), view=view).finished == 1
    assert view.kinds()[0] is Skipped
    assert view.kinds()[-2:] == [Started, Ended]


def test_a_run_is_not_handed_out_again_while_another_process_holds_it(store):
    claim, held = store.claim(toy_run()), []

    class Counting(LocalExecutor):
        def check(self, configs, store):
            return []

        def run(self, configs, store, retry=None):
            held.append(store.held(toy_run().run_id))
            if held[-1]:
                yield Skipped(toy_run().run_id)
            else:
                yield Ended(toy_run().run_id, toy_record(toy_run()))

    class ReleasedAtTheFourthLook(Witness):
        def show(self, event):
            super().show(event)
            if self.kinds().count(Skipped) == 4:
                claim.release()

    run_sweep([toy_run()], store, Counting(1, "cpu"), view=ReleasedAtTheFourthLook())
    assert held == [True, False]


def some_board() -> Board:
    board = Board([toy_run(seed, window=w) for seed in (0, 1) for w in (1, 2)], processes=2)
    one, two, three, four = board.configs.values()
    board.apply(Ended(one.run_id, toy_record(one, accuracy=0.75)))
    board.apply(Ended(two.run_id, toy_record(two, "failed")))
    board.apply(Started(three.run_id))
    board.apply(Progressed(three.run_id, Progress(three.run_id, 1, 4, 5, 20, 0.5, 1.0)))
    board.apply(Skipped(four.run_id))
    return board


def test_the_live_table_shows_what_is_done_running_failed_and_best():
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    board = some_board()
    view = LiveView(console)
    with view.showing(board):
        run_id, record = next(reversed(board.records.items()))
        view.show(Ended(run_id, record))
    text = console.file.getvalue()
    assert "2 of 4 runs done · 1 running · 1 running elsewhere · 1 failed" in text
    assert "window=2 lr=0.001 seed=0: failed, for the test" in text
    assert re.search(r"toy-mixer window=1 lr=0.001 seed=1 +epoch 2 of 4 +validation 0.500", text)
    assert re.search(r"toy-mixer window=1 +1/2 +0.750 +0.750 +0.001", text)
    assert re.search(r"toy-mixer window=2 +1/2 +- +- *\n", text)


def test_the_time_left_comes_from_what_runs_took_shared_among_the_processes():
    # One run took 1.5 s, another has 0.5 s of it to go, the third has not begun.
    assert some_board().remaining() == pytest.approx((0.5 + 1.5) / 2)
    assert Board([toy_run()], 1).remaining() is None
    assert table(Board([toy_run()], 1))


def test_without_a_terminal_every_run_that_ends_is_one_line(capsys):
    board, view = some_board(), PlainView()
    with view.showing(board):
        for run_id, record in board.records.items():
            view.show(Ended(run_id, record))
        view.show(Warned(run_id, "beware"))
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "[2/4] toy-mixer window=1 lr=0.001 seed=0: validation 0.750, test 0.750, 1.5 s",
        "[2/4] toy-mixer window=2 lr=0.001 seed=0: failed, for the test",
    ]
    assert err == "toy-mixer window=2 lr=0.001 seed=0: beware\n"
