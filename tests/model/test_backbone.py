from itertools import pairwise

import torch

from recall_bench.config import RunConfig
from recall_bench.model.backbone import build_model


def run(seed: int) -> RunConfig:
    return RunConfig(
        task={"name": "mqar", "vocab_size": 1024},
        architecture={"name": "short-conv", "d_model": 16},
        model={"embedding_dropout": 0.5},
        seed=seed,
    )


def test_models_that_differ_in_their_seed_alone_drop_other_features() -> None:
    one, other = build_model(run(0)), build_model(run(1))
    with torch.no_grad():
        for mine, theirs in zip(other.parameters(), one.parameters(), strict=True):
            mine.copy_(theirs)
    tokens = torch.arange(16)[None]
    assert not torch.equal(one(tokens), other(tokens))
    assert torch.equal(one.eval()(tokens), other.eval()(tokens))


def test_no_step_of_a_run_drops_the_features_that_a_step_of_the_next_seed_drops() -> None:
    seeds = [build_model(run(seed)).dropout_seed.item() for seed in range(3)]
    assert min(later - earlier for earlier, later in pairwise(seeds)) >= 2**31
