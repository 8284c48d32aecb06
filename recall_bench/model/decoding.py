"""Greedy decoding through the mixers' recurrent step, and the score `contains`.

`Mixer.prefill` reads the prompt in parallel, then every token goes through `Mixer.step` alone, so
that decoding carries exactly the state that a record measures.

Shapes: B batch, L length of a row, P prompt length, D width, V vocabulary, N prompts.
"""

from collections.abc import Collection, Hashable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from recall_bench.documents.tokens import Codec
from recall_bench.model.backbone import Model
from recall_bench.store.record import GeneratedText, GenerationScore, GenerationSlice
from recall_bench.tasks import ANSWER, IGNORE, Examples, Segment, Task, generate

MAX_TOKENS = 48
"""The longest continuation, as published for SWDE, FDA and SQuAD (Based, 2402.18668)."""
SAMPLES = 8
"""Continuations per segment that a record keeps word for word."""
STEPS_BETWEEN_CHECKS = 8
"""Steps between checks whether every row has stopped; each check waits for the device."""


@torch.no_grad()
def greedy(model: Model, prompts: Tensor, max_tokens: int, stop: Collection[int] = ()) -> Tensor:
    """Extend prompts (B, P) by their likeliest tokens, one at a time: (B, at most max_tokens).

    A row ends before its first token in ``stop`` and holds `IGNORE` from there on. Raises
    `ValueError` for empty prompts.
    """
    if not prompts.shape[1]:
        raise ValueError("Greedy decoding needs prompts of at least one token, got none.")
    was_training = model.training
    model.eval()
    stops = torch.tensor(sorted(stop), dtype=torch.int64, device=prompts.device)
    hidden, state = model.prefill(prompts)
    last = hidden[:, -1]  # (B, D)
    done = torch.zeros(len(prompts), dtype=torch.bool, device=prompts.device)
    tokens: list[Tensor] = []
    for count in range(1, max_tokens + 1):
        token = model.logits(last).argmax(-1)  # (B,)
        done = done | torch.isin(token, stops)
        tokens.append(token.where(~done, IGNORE))
        if count == max_tokens or (count % STEPS_BETWEEN_CHECKS == 0 and bool(done.all())):
            break
        last, state = model.step(token, state)
    model.train(was_training)
    empty = prompts.new_empty(len(prompts), 0, dtype=torch.int64)
    return torch.stack(tokens, 1) if tokens else empty


@dataclass(frozen=True)
class Prompts:
    """The tokens of each prompt and of its answer."""

    tokens: list[Tensor]
    answers: list[list[int]]

    @staticmethod
    def of(examples: Examples) -> "Prompts":
        """Cut each example after the input of its first label; the labels are the answer.

        The labels must run from there to the end of the row, or of its answer.
        """
        labelled = examples.labels != IGNORE  # (N, L)
        ends = (labelled.int().argmax(1) + 1).tolist()
        tokens = [row[:end] for row, end in zip(examples.inputs, ends, strict=True)]
        rows = zip(examples.labels, labelled, strict=True)
        return Prompts(tokens, [labels[mask].tolist() for labels, mask in rows])

    def batches(self, size: int) -> Iterator[tuple[list[int], Tensor]]:
        """Batches of at most ``size`` prompts: their numbers, and tokens (B, P).

        The prompts of a batch have equal lengths and need no padding, which a model may not have
        seen in training.
        """
        for numbers in group_equal(map(len, self.tokens), size):
            yield numbers, torch.stack([self.tokens[number] for number in numbers])


def group_equal(keys: Iterable[Hashable], size: int) -> Iterator[list[int]]:
    """Indices of equal keys in groups of at most ``size``, in order of first appearance."""
    groups: dict[Hashable, list[int]] = {}
    for number, key in enumerate(keys):
        groups.setdefault(key, []).append(number)
    for numbers in groups.values():
        for first in range(0, len(numbers), size):
            yield numbers[first : first + size]


def contains(generated: str, answer: str) -> bool:
    """Whether a text contains the answer, ignoring case: the score of SWDE, FDA and SQuAD."""
    return answer.casefold() in generated.casefold()


def score(
    model: Model, task: Task, seed: int, device: torch.device, batch_size: int
) -> list[GenerationScore]:
    """Continue the test prompts of a ``prompted`` task and score them, segment by segment."""
    codec = task.codec()
    assert codec is not None, f"{task.name} is prompted but has no codec"
    scores = []
    for index, segment in enumerate(task.segments("test")):
        examples = generate(task, "test", index, seed)
        prompts = Prompts.of(examples)
        most = max(MAX_TOKENS, max(map(len, prompts.answers)) + 1)
        generated = [""] * len(prompts.answers)
        for numbers, rows in prompts.batches(batch_size):
            made = greedy(model, rows.to(device), most, codec.stops)
            for number, row in zip(numbers, made.tolist(), strict=True):
                generated[number] = codec.decode(token for token in row if token != IGNORE)
        scores.append(_score(segment, examples, prompts, generated, codec))
    return scores


def _score(
    segment: Segment, examples: Examples, prompts: Prompts, generated: list[str], codec: Codec
) -> GenerationScore:
    """Score the continuations of a segment, in total and by slice."""
    answers = [codec.decode(answer).strip() for answer in prompts.answers]
    texts = [text.strip() for text in generated]
    pairs = list(zip(texts, answers, strict=True))
    hits = torch.tensor([contains(*pair) for pair in pairs], dtype=torch.float64)
    first = (examples.labels != IGNORE).int().argmax(1, keepdim=True)  # (N, 1)
    slices = []
    for name, value in examples.slices.items():
        if name == ANSWER or not isinstance(value, Tensor):
            continue
        values = value.gather(1, first)[:, 0]  # (N,)
        for distinct in values.unique().tolist():
            matching = hits[values == distinct]
            slices.append(
                GenerationSlice(
                    name=name,
                    value=distinct,
                    prompts=len(matching),
                    contains=matching.mean().item(),
                )
            )
    return GenerationScore(
        length=segment.length,
        options=segment.model_dump(exclude={"length", "examples"}),
        prompts=len(pairs),
        contains=hits.mean().item(),
        exact=sum(text.casefold() == answer.casefold() for text, answer in pairs) / len(pairs),
        slices=slices,
        samples=[GeneratedText(answer=b, generated=a) for a, b in pairs[:SAMPLES]],
    )
