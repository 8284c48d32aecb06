from typing import Any

import pytest
import torch
from torch import Tensor

from recall_bench.config import RunConfig
from recall_bench.documents.tokens import Bytes
from recall_bench.model import decoding
from recall_bench.model.backbone import build_model
from recall_bench.model.decoding import Prompts, contains, greedy, score
from recall_bench.tasks import IGNORE, Examples
from recall_bench.tasks.text.documents import Documents
from recall_bench.training.loop import train

ARCHITECTURES: dict[str, dict[str, int]] = {
    "based": {"feature_dim": 4},
    "attention": {},
    "sliding-window": {"window": 8},
    "mamba": {},
    "h3": {},
    "rwkv": {"head_dim": 8},
}
TASK = {"name": "documents", "train": "128:64", "validation": "128:16", "test": "128:24,160:8"}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_greedy_is_the_argmax_of_the_parallel_form_again_and_again(architecture: str) -> None:
    knobs = ARCHITECTURES[architecture]
    config = RunConfig(task=TASK, architecture={"name": architecture, "d_model": 16, **knobs})
    model = build_model(config).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():  # far from ties and from always the same token
            parameter.mul_(3)
    prompts = torch.randint(257, (3, 21), generator=torch.Generator().manual_seed(0))
    made = greedy(model, prompts, 7)
    expected = prompts
    with torch.no_grad():
        for _ in range(7):
            token = model.logits(model(expected)[:, -1]).argmax(-1, keepdim=True)
            expected = torch.cat([expected, token], 1)
    assert torch.equal(made, expected[:, 21:])
    assert len(made.unique()) > 1


class Speaker:
    """A model that says the texts of its rows, whatever the prompt."""

    training = True

    def __init__(self, said: list[list[int]], tokens: int = 257):
        self.said, self.tokens, self.steps = said, tokens, 0

    def train(self, on: bool) -> None:
        self.training = on

    def eval(self) -> None:
        self.training = False

    def _hidden(self, at: int) -> Tensor:
        """(B, V): what comes next, one-hot; the last token again and again at the end."""
        tokens = torch.tensor([row[min(at, len(row) - 1)] for row in self.said])
        return torch.nn.functional.one_hot(tokens, self.tokens).double()

    def prefill(self, inputs: Tensor) -> tuple[Tensor, Any]:
        assert len(inputs) == len(self.said)
        return self._hidden(0)[:, None].expand(-1, inputs.shape[1], -1), {"at": 1}

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        self.steps += 1
        return self._hidden(state["at"]), {"at": state["at"] + 1}

    def logits(self, hidden: Tensor) -> Tensor:
        return hidden


class Replier(Speaker):
    """A model that has a reply to every prompt."""

    def __init__(self, replies: dict[tuple[int, ...], list[int]]):
        super().__init__([])
        self.replies = replies

    def prefill(self, inputs: Tensor) -> tuple[Tensor, Any]:
        self.said = [self.replies[tuple(prompt)] for prompt in inputs.tolist()]
        return super().prefill(inputs)


def test_a_row_ends_before_its_stop_and_all_end_with_the_last() -> None:
    model: Any = Speaker([[5, 6, 0], [0], [7, 8, 9, 1]])
    made = greedy(model, torch.ones(3, 2, dtype=torch.int64), 40, stop={0, 1})
    assert made[:, :4].tolist() == [
        [5, 6, IGNORE, IGNORE],
        [IGNORE] * 4,
        [7, 8, 9, IGNORE],
    ]
    assert (made[:, 4:] == IGNORE).all()
    assert model.steps < 2 * decoding.STEPS_BETWEEN_CHECKS, (
        "decoding goes on after every row has stopped"
    )
    assert model.training


def test_no_more_tokens_are_made_than_asked_for_and_empty_prompts_are_refused() -> None:
    model: Any = Speaker([[5]])
    assert greedy(model, torch.ones(1, 1, dtype=torch.int64), 3).tolist() == [[5, 5, 5]]
    assert greedy(model, torch.ones(1, 1, dtype=torch.int64), 0).shape == (1, 0)
    with pytest.raises(ValueError, match="at least one token"):
        greedy(model, torch.ones(1, 0, dtype=torch.int64), 3)


def test_prompts_end_where_the_first_answer_is_asked() -> None:
    inputs = torch.tensor([[9, 9, 1, 2, 3, 4], [9, 1, 2, 3, 4, 5]])
    labels = torch.tensor([[-100, -100, -100, -100, 4, 7], [-100, 2, 3, 4, 5, 6]])
    prompts = Prompts.of(Examples(inputs, labels))
    assert [prompt.tolist() for prompt in prompts.tokens] == [[9, 9, 1, 2, 3], [9, 1]]
    assert prompts.answers == [[4, 7], [2, 3, 4, 5, 6]]


def test_prompts_of_one_length_share_a_batch() -> None:
    tokens = [torch.full((length,), number) for number, length in enumerate((3, 2, 3, 3, 2))]
    batches = Prompts(tokens, [[0]] * 5).batches(2)
    assert [(numbers, rows.tolist()) for numbers, rows in batches] == [
        ([0, 2], [[0] * 3, [2] * 3]),
        ([3], [[3] * 3]),
        ([1, 4], [[1] * 2, [4] * 2]),
    ]


def test_what_is_said_begins_as_the_test_would_have_it() -> None:
    """Greedy decoding and the answer fed back agree on the first token of every answer."""
    task = Documents(**{key: value for key, value in TASK.items() if key != "name"})
    config = RunConfig(task=TASK, architecture={"name": "attention", "d_model": 16})
    model = build_model(config).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    examples = decoding.generate(task, "test", 0, 0)
    first = (examples.labels != IGNORE).int().argmax(1)
    assert len(first.unique()) > 1, "answers of one length test nothing"
    with torch.no_grad():
        hidden = model(examples.inputs)[torch.arange(len(first)), first]
        expected = model.logits(hidden).argmax(-1)
    for numbers, rows in Prompts.of(examples).batches(8):
        assert torch.equal(greedy(model, rows, 1)[:, 0], expected[numbers])


def test_contains_is_a_substring_in_any_case() -> None:
    assert contains(" by ANN lee, 2001", "Ann Lee")
    assert not contains("Ann", "Ann Lee")


def test_scores_count_what_is_said_by_segment_and_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    task = Documents(**{key: value for key, value in TASK.items() if key != "name"})
    codec = Bytes()
    examples = decoding.generate(task, "test", 0, 3)
    prompts = Prompts.of(examples)
    replies = {}
    for row, (prompt, answer) in enumerate(zip(prompts.tokens, prompts.answers, strict=True)):
        text = codec.decode(answer).strip()
        reply = (text.upper(), f"It is {text}", "no", "")[row % 4]
        replies[tuple(prompt.tolist())] = [*codec.encode(f" {reply}"), ord("\n")]
    monkeypatch.setattr(Documents, "segments", lambda self, split: (task.test[0],), raising=True)
    model: Any = Replier(replies)
    (found,) = score(model, task, 3, torch.device("cpu"), batch_size=3)
    assert (found.prompts, found.contains, found.exact) == (24, 0.5, 0.25)
    assert found.samples[1].generated == f"It is {found.samples[1].answer}"
    kinds = [part for part in found.slices if part.name == "kind"]
    assert sum(part.prompts for part in kinds) == 24
    assert sum(part.contains * part.prompts for part in kinds) == pytest.approx(12)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_models_train_and_decode_in_bf16(architecture: str) -> None:
    config = RunConfig(
        task={**TASK, "train": "128:32", "test": "128:16"},
        architecture={"name": architecture, "d_model": 16, **ARCHITECTURES[architecture]},
        model={"mlp_ratio": 2, "norm": "rmsnorm"},
        training={"epochs": 1, "batch_size": 16, "precision": "bf16"},
    )
    record = train(config, device="cpu")
    assert record.status == "finished"
    assert record.generation[0].prompts == 16


def test_a_run_of_a_task_with_prompts_records_what_the_model_says() -> None:
    config = RunConfig(
        task=TASK,
        architecture={"name": "based", "d_model": 16},
        training={"epochs": 1, "batch_size": 32},
    )
    record = train(config, device="cpu")
    assert [part.length for part in record.generation] == [128, 160]
    assert [part.prompts for part in record.generation] == [24, 8]
    assert record.data["names"]["kind"] == ["product", "filing", "directory"]
    assert {part.name for part in record.slices} == {"kind", "gap"}
