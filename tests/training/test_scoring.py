import torch

from recall_bench.config import RunConfig
from recall_bench.model.backbone import build_model
from recall_bench.training.batches import load_split
from recall_bench.training.scoring import score


def test_scoring_a_model_that_is_in_training_drops_nothing_and_leaves_it_in_training() -> None:
    config = RunConfig(
        task={"name": "mqar", "vocab_size": 1024, "test": "16:2:8,24:4:8"},
        architecture={"name": "attention", "d_model": 16},
        model={"embedding_dropout": 0.5},
    )
    data, _ = load_split(config.task, "test", 0, torch.device("cpu"))
    model = build_model(config)
    for part, (_, losses) in zip(data, score(model.train(), data, 8), strict=True):
        inputs, positions, targets, _ = part.batch(0, 8)
        with torch.no_grad():
            logits = model.eval().logits(model(inputs, positions))
        expected = torch.nn.functional.cross_entropy(logits.mT, targets, reduction="none")
        torch.testing.assert_close(losses, expected)
    score(model.train(), data, 8)
    assert model.training
    score(model.eval(), data, 8)
    assert not model.training
