import pytest
from sweep_training import PLUGIN, toy_record

from recall_bench.registry import load_plugin
from recall_bench.store.table import frame
from recall_bench.sweeps.carry_out import Summary
from recall_bench.sweeps.expand import expand
from recall_bench.sweeps.racing import run_race, still_racing

RATES = (1e-3, 1e-2, 1e-1)


@pytest.fixture(autouse=True)
def _toys():
    load_plugin(PLUGIN)


def runs(seeds=(0, 1, 2), windows=(1,), **training):
    return expand(
        task={"name": "toy"},
        architectures=[{"name": "toy-mixer", "window": window} for window in windows],
        learning_rates=RATES,
        seeds=seeds,
        training=training,
    )


class Trainer:
    """Carries runs out by looking their scores up by rate and seed; counts them."""

    def __init__(self, scores, failing=()):
        self.scores, self.failing = scores, failing
        self.records, self.rounds = [], []

    def carry_out(self, configs):
        self.rounds.append([(c.training.learning_rate, c.seed) for c in configs])
        made = []
        for config in configs:
            key = config.training.learning_rate, config.seed
            status = "failed" if key in self.failing else "finished"
            made.append(toy_record(config, status, self.scores.get(key, 0.0)))
        self.records += made
        failed = [record for record in made if record.status == "failed"]
        return Summary(len(made), 0, len(made) - len(failed), 0, failed, 1.0)

    def race(self, configs):
        return run_race(configs, lambda: frame(self.records), self.carry_out)


def test_a_race_gives_further_seeds_only_to_rates_that_may_still_win():
    scores = {(1e-3, 0): 0.7, (1e-2, 0): 0.71, (1e-1, 0): 0.5}
    scores |= {(1e-3, 1): 0.7, (1e-2, 1): 0.0, (1e-3, 2): 0.7, (1e-2, 2): 0.74}
    trainer = Trainer(scores)
    summary = trainer.race(runs())
    first, second, third = trainer.rounds
    assert sorted(first) == [(rate, 0) for rate in RATES]
    assert sorted(second) == [(1e-3, 1), (1e-2, 1)]
    assert sorted(third) == [(1e-3, 2), (1e-2, 2)]
    assert (summary.total, summary.finished, summary.seconds) == (7, 7, 3.0)


def test_a_rate_that_falls_behind_gets_no_further_seed():
    scores = {(rate, seed): 0.7 for rate in RATES for seed in range(3)} | {(1e-1, 1): 0.4}
    scores |= {(1e-2, 0): 0.62, (1e-2, 1): 0.42}
    trainer = Trainer(scores | {(1e-1, 0): 0.69, (1e-1, 1): 0.69})
    trainer.race(runs())
    assert sorted(trainer.rounds[2]) == [(1e-3, 2), (1e-1, 2)]


def test_a_race_that_is_run_again_runs_nothing_new():
    scores = {(1e-3, seed): 0.9 for seed in range(3)}
    first = Trainer(scores)
    first.race(runs())
    again = Trainer(scores)
    again.records = list(first.records)
    again.race(runs())
    assert again.rounds == first.rounds


def test_every_point_has_a_race_of_its_own_in_the_order_of_the_seeds_given():
    configs = runs(seeds=(3, 0), windows=(1, 2))
    best = {1: 1e-3, 2: 1e-1}
    first = [config for config in configs if config.seed == 3]
    records = [
        toy_record(c, accuracy=float(c.training.learning_rate == best[c.architecture.window]))
        for c in first
    ]
    kept = {
        (c.architecture.window, c.training.learning_rate)
        for c in still_racing(configs, frame(records))
    }
    assert kept == set(best.items())
    trainer = Trainer({(1e-3, 3): 0.9})
    trainer.race(configs)
    assert {seed for _, seed in trainer.rounds[0]} == {3}
    assert {seed for _, seed in trainer.rounds[1]} == {0}


def test_weight_decays_race_against_each_other():
    configs = [c for decay in (0.0, 0.1) for c in runs(seeds=(0, 1), weight_decay=decay)]
    records = [
        toy_record(c, accuracy=0.9 if c.training.weight_decay else 0.2)
        for c in configs
        if c.seed == 0
    ]
    decays = {c.training.weight_decay for c in still_racing(configs, frame(records))}
    assert decays == {0.1}


def test_a_failed_run_does_not_put_its_rate_out_of_the_race():
    scores = {(rate, seed): 0.7 for rate in RATES for seed in range(2)}
    trainer = Trainer(scores, failing={(1e-1, 0)})
    summary = trainer.race(runs(seeds=(0, 1)))
    assert sorted(trainer.rounds[1]) == [(rate, 1) for rate in RATES]
    assert len(summary.failed) == 1
