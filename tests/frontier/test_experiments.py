"""What is said of several experiments in one store."""

import json
import re

import pytest
from rich.console import Console
from synthetic_runs import run, table

from recall_bench.errors import UserError
from recall_bench.frontier.experiments import distinctions, one_experiment
from recall_bench.frontier.points import points
from recall_bench.reports.terminal import points_tables


def with_training(row, **options):
    """The run, as if it had been trained with these options."""
    name, training = json.dumps(options), row["training"] | options
    return {**row, "run_id": name, "experiment": name, "training": training}


def distinguished(*rows):
    return sorted(distinctions(points(table(*rows))).values())


def test_experiments_are_told_apart_by_what_they_do_not_share():
    same = {"batch_size": 32}
    short = with_training(run(), epochs=6, gradient_clip=None, **same)
    long = with_training(run(), epochs=24, gradient_clip=1.0, **same)
    assert distinguished(short, long) == [
        "epochs=24 gradient_clip=1.0",
        "epochs=6 gradient_clip=none",
    ]


def test_a_rate_or_a_seed_or_a_knob_makes_no_experiment():
    rows = run(), run(learning_rate=1e-2), run(seed=1), run("mamba", d_state=8)
    assert distinguished(*rows) == [""]


def test_only_experiments_of_one_task_are_compared():
    assert distinguished(run(vocab_size=64), run(task="ar", vocab_size=512)) == ["", ""]


def test_long_values_are_cut():
    rows = (with_training(run(), train=[{"length": length}] * 9) for length in (64, 128))
    assert distinguished(*rows) == ["train=…", "train=…"]


def test_the_report_and_the_refusal_to_mix_say_what_differs():
    both = table(run(vocab_size=4096), run(vocab_size=8192))
    console = Console(width=80, record=True)
    console.print(points_tables(both))
    with pytest.raises(UserError) as refusal:
        one_experiment(both, None)
    for said in (console.export_text(), str(refusal.value)):
        named = re.findall(r": .*mqar (vocab_size=\d+)$", said, re.MULTILINE)
        assert sorted(named) == ["vocab_size=4096", "vocab_size=8192"]
