"""Generators are timed over the mix of their training segments."""

import pytest
import torch

from recall_bench.bench import tasks as bench_tasks
from recall_bench.bench.tasks import measure, measure_all, table
from recall_bench.tasks.recall.mqar import MQAR


def test_a_rate_is_over_the_mix_of_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    task = MQAR(vocab_size=64, train="16:2:300,32:2:100", validation="16:2:1", test="16:2:1")
    cost = {16: 1e-6, 32: 5e-6}
    monkeypatch.setattr(
        bench_tasks, "_seconds_an_example", lambda task, segment, seconds: cost[segment.length]
    )
    results = measure(task)
    assert results.examples == pytest.approx(400 / (300e-6 + 500e-6))
    assert results.tokens == pytest.approx((300 * 16 + 100 * 32) / (300e-6 + 500e-6))
    assert results.segments == "16, 32"


def test_timing_is_positive_and_leaves_the_threads_alone() -> None:
    threads = torch.get_num_threads()
    task = MQAR(vocab_size=64, train="16:2:300", validation="16:2:1", test="16:2:1")
    assert measure(task, 0.01).examples > 1000
    assert torch.get_num_threads() == threads


def test_every_task_that_needs_no_data_is_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_tasks, "_seconds_an_example", lambda *_: 1e-6)
    rows = list(measure_all())
    assert {"mqar", "mad-compression"} <= {row.task for row in rows}
    assert table(iter(rows)).row_count == len(rows)
