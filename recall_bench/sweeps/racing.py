"""A sweep as a race: every seed after the first runs only where a learning rate may still win."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from recall_bench.config import RunConfig
from recall_bench.sweeps.carry_out import Summary

if TYPE_CHECKING:  # importing pandas takes time that workers do not have to spend
    import pandas as pd

CarryOut = Callable[[Sequence[RunConfig]], Summary]
"""Trains what is not done among some runs, as `run_sweep` does."""


def run_race(
    configs: Sequence[RunConfig], done: Callable[[], "pd.DataFrame"], carry_out: CarryOut
) -> Summary:
    """Carry out the runs that the race of learning rates asks for, a seed at a time.

    Every candidate runs with the first seed of ``configs``. Then candidates that lie clearly below
    the leader leave the race (`recall_bench.frontier.race`), the others run with the next seed, and
    so on to the last seed. ``done`` reads the table of runs that are stored by now.
    """
    seeds = list(dict.fromkeys(config.seed for config in configs))
    tried: set[str] = set()
    summaries = []
    for depth in range(1, len(seeds) + 1):
        while todo := [
            config
            for config in (still_racing(configs, done()) if tried else configs)
            if config.seed in seeds[:depth] and config.run_id not in tried
        ]:
            summaries.append(carry_out(todo))
            tried |= {config.run_id for config in todo}
    return Summary(
        total=sum(summary.total for summary in summaries),
        before=sum(summary.before for summary in summaries),
        finished=sum(summary.finished for summary in summaries),
        diverged=sum(summary.diverged for summary in summaries),
        failed=[record for summary in summaries for record in summary.failed],
        seconds=sum(summary.seconds for summary in summaries),
    )


def still_racing(configs: Sequence[RunConfig], done: "pd.DataFrame") -> list[RunConfig]:
    """The runs of the candidates that are still in the race, judged by those of them in ``done``.

    Candidates are learning rates and weight decays; everything else but the seed makes a point.
    """
    import numpy as np

    from recall_bench.frontier.race import race
    from recall_bench.frontier.selection import scored

    mine = done[done["run_id"].isin({config.run_id for config in configs})]
    runs = scored(mine)
    scores = dict(zip(runs["run_id"], runs["validation_accuracy"], strict=True))
    points: dict[str, list[RunConfig]] = {}
    for config in configs:
        points.setdefault(_but(config, "learning_rate", "weight_decay"), []).append(config)
    racing = set()
    for runs_of_point in points.values():
        ordered = sorted(runs_of_point, key=_rate_and_decay)
        candidates = list(dict.fromkeys(_but(config) for config in ordered))
        seeds = list(dict.fromkeys(config.seed for config in ordered))
        table = np.full((len(candidates), len(seeds)), np.nan)
        for config in ordered:
            place = candidates.index(_but(config)), seeds.index(config.seed)
            table[place] = scores.get(config.run_id, np.nan)
        still = race(table).racing
        racing |= {candidate for candidate, stays in zip(candidates, still, strict=True) if stays}
    return [config for config in configs if _but(config) in racing]


def _rate_and_decay(config: RunConfig) -> tuple[float, float]:
    return config.training.learning_rate, config.training.weight_decay


def _but(config: RunConfig, *options: str) -> str:
    """A run in words that leave out its seed, and these options of its training."""
    return config.model_dump_json(exclude={"seed": True, "training": set(options)})
