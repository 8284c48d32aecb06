"""Greedy decoding through the mixers' recurrent step, and the score `contains`.

The prompt is read in parallel (`Mixer.prefill`), then every token goes through `Mixer.step` alone:
what decoding carries is the state that a record measures.

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
"""Continuations of each segment that a record keeps word for word."""
LOOK = 8
"""Steps between looks at whether every row has stopped; each look waits for the device."""


@torch.no_grad()
def greedy(model: Model, prompts: Tensor, max_tokens: int, stop: Collection[int] = ()) -> Tensor:
    """Continue prompts (B, P) by the likeliest token, again and again: (B, at most max_tokens).

    A row ends before the first of its tokens that is in ``stop``, and holds `IGNORE` from there
    on. Raises `ValueError` for empty prompts.
    """
    if not prompts.shape[1]:
        raise ValueError("greedy decoding needs prompts of at least one token")
    was_training = model.training
    model.eval()
    stops = torch.tensor(sorted(stop), dtype=torch.int64, device=prompts.device)
    hidden, state = model.prefill(prompts)
    last = hidden[:, -1]  # (B, D)
    done = torch.zeros(len(prompts), dtype=torch.bool, device=prompts.device)
    made: list[Tensor] = []
    for at in range(max_tokens):
        token = model.logits(last).argmax(-1)  # (B,)
        done = done | torch.isin(token, stops)
        made.append(token.where(~done, IGNORE))
        if at + 1 == max_tokens or (at % LOOK == LOOK - 1 and bool(done.all())):
            break
        last, state = model.step(token, state)
    model.train(was_training)
    empty = prompts.new_empty(len(prompts), 0, dtype=torch.int64)
    return torch.stack(made, 1) if made else empty


@dataclass(frozen=True)
class Prompts:
    """What is shown and what should come next: the tokens of each prompt, and of its answer."""

    tokens: list[Tensor]
    answers: list[list[int]]

    @staticmethod
    def of(examples: Examples) -> "Prompts":
        """The part of each example up to its first label, exactly as a test reads it.

        The labels must run from there to the end of the row, or of its answer.
        """
        asked = examples.labels != IGNORE  # (N, L)
        ends = (asked.int().argmax(1) + 1).tolist()
        tokens = [row[:end] for row, end in zip(examples.inputs, ends, strict=True)]
        rows = zip(examples.labels, asked, strict=True)
        return Prompts(tokens, [labels[here].tolist() for labels, here in rows])

    def batches(self, size: int) -> Iterator[tuple[list[int], Tensor]]:
        """At most ``size`` prompts of one length at a time, so that none is padded beyond what the
        task does, which a model may not have met in training: their numbers, and tokens (B, P)."""
        for numbers in alike(map(len, self.tokens), size):
            yield numbers, torch.stack([self.tokens[number] for number in numbers])


def alike(keys: Iterable[Hashable], size: int) -> Iterator[list[int]]:
    """The numbers of equal keys, at most ``size`` at a time, in the order of their first."""
    found: dict[Hashable, list[int]] = {}
    for number, key in enumerate(keys):
        found.setdefault(key, []).append(number)
    for numbers in found.values():
        for first in range(0, len(numbers), size):
            yield numbers[first : first + size]


def contains(generated: str, answer: str) -> bool:
    """Whether a text holds the answer, in any case: the published score of SWDE, FDA and SQuAD."""
    return answer.casefold() in generated.casefold()


def score(
    model: Model, task: Task, seed: int, device: torch.device, batch_size: int
) -> list[GenerationScore]:
    """Let a model continue the test prompts of a task that is ``prompted``, segment by segment."""
    codec = task.codec()
    assert codec is not None, f"{task.name} is prompted and has no codec"
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
    """Count what the continuations of a segment got right, in all and by slice."""
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
        for found in values.unique().tolist():
            mine = hits[values == found]
            slices.append(
                GenerationSlice(
                    name=name, value=found, prompts=len(mine), contains=mine.mean().item()
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
