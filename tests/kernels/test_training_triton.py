"""A few optimiser steps of every architecture, on Triton's kernels and on the references."""

import pytest
import torch
from comparing import DEVICE, assert_close
from small_runs import small_run

pytest.importorskip("triton")

from recall_bench.config import RunConfig
from recall_bench.kernels.plumbing import dispatch
from recall_bench.model.backbone import build_model
from recall_bench.training.batches import Batch, load_split
from recall_bench.training.graphs import PackedBatches
from recall_bench.training.optimizer import AdamW
from recall_bench.training.scoring import query_answers, query_loss

ARCHITECTURES = ["based", "taylor-attention", "attention", "sliding-window", "mamba", "h3", "rwkv"]


def losses(config: RunConfig, packed: bool) -> list[float]:
    """The losses of two steps, then of the queries of another batch."""
    place = torch.device(DEVICE)
    data, _ = load_split(config.task, "train", 0, place)
    model = build_model(config).to(place)
    optimizer = AdamW(model.parameters(), 1e-2, 0.1)
    batches = PackedBatches(data[0], 2, config.task.tokens)
    results = []
    for step in range(2):
        batch: Batch = data[0].batch(2 * step, 2)
        if packed:
            batch = batches.batch(torch.tensor([step], device=place))
        loss = query_loss(model, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        results.append(loss.item())
    with torch.no_grad():
        answers, _ = query_answers(model.eval(), data[0].batch(4, 2))
    return [*results, *answers.flatten().tolist()]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_training_on_the_kernels_is_training_on_the_references(architecture, monkeypatch):
    config = small_run(architecture, embedding_dropout=0.0)
    monkeypatch.setenv(dispatch.VARIABLE, "reference")
    expected = losses(config, packed=False)
    monkeypatch.setenv(dispatch.VARIABLE, "triton")
    got = losses(config, packed=True)
    assert_close("losses", torch.tensor(got), torch.tensor(expected), 1e-4)
