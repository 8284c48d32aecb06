import pytest
import torch

from recall_bench.config import RunConfig
from recall_bench.model.backbone import build_model
from recall_bench.training.batches import load_split
from recall_bench.training.scoring import compared_once, score


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


class Scorer:
    """Stands in for a pass over one segment of four queries; counts its calls."""

    def __init__(self, correct: list[bool], losses: list[float]):
        self.scores = [(torch.tensor([correct]), torch.tensor([losses]))]
        self.calls = 0

    def __call__(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        self.calls += 1
        return self.scores


def test_scores_from_a_graph_are_compared_with_an_eager_pass_once() -> None:
    graph, eager = Scorer([True, False], [0.5, 2.0]), Scorer([True, False], [0.5, 2.0005])
    validate = compared_once(graph, eager)
    assert [validate(), validate(), validate()] == [graph.scores] * 3
    assert (graph.calls, eager.calls) == (3, 1)


@pytest.mark.parametrize(
    "wrong",
    [
        Scorer([True, False], [0.5, 2.1]),
        Scorer([True, True], [0.5, 2.0]),
        Scorer([True, False], [0.5, float("nan")]),
    ],
)
def test_a_graph_that_disagrees_is_given_up(wrong: Scorer) -> None:
    eager = Scorer([True, False], [0.5, 2.0])
    validate = compared_once(wrong, eager)
    with pytest.warns(UserWarning, match="differs from an eager pass"):
        first = validate()
    torch.testing.assert_close(first, eager.scores)
    assert validate() is eager.scores
    assert wrong.calls == 1


def test_a_diverged_model_agrees_with_itself() -> None:
    graph, eager = (Scorer([False], [float("nan")]) for _ in range(2))
    assert compared_once(graph, eager)() is graph.scores
