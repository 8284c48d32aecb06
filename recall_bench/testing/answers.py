"""Checks a task's answers against a solver, blind guesses, and windows.

Guesses are fitted on one half of a sample's rows and scored on the other half, so that they cannot
memorise the answers.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from recall_bench.tasks import IGNORE, SPLITS, Examples, Segment, Task
from recall_bench.tasks.base import block_seed
from recall_bench.testing.report import Failure, Property

Solver: TypeAlias = Callable[[list[int], list[int]], Sequence[int]]
"""``solve(inputs, positions)``: tokens of one example and its labelled positions -> the answers.

The solver gives its best guess if the inputs do not determine an answer.
"""

ROWS = 32
"""Rows per segment for a solver that must answer every query correctly."""
SAMPLE_ROWS, SAMPLE_TOKENS = 512, 2**19
"""Largest sample for estimating shares: rows, and tokens in total (but at least 64 rows)."""
SIGMAS = 4.5
"""Standard errors by which a share may differ: exceeded by chance once in 150,000 comparisons."""
LEAK = 0.02
"""Tolerated excess over `Task.hint`, which may leave out small hints of the token at a query."""


@dataclass(frozen=True)
class AnswersSubject:
    """A task, the seed of the sample, and an optional solver."""

    task: Task
    seed: int
    solver: Solver | None = None

    def segments(self) -> Iterator[tuple[str, Segment]]:
        """Every distinct segment: (name for messages, segment)."""
        seen: list[Segment] = []
        for split in SPLITS:
            for index, segment in enumerate(self.task.segments(split)):
                if segment.model_copy(update={"examples": 1}) not in seen:
                    seen.append(segment.model_copy(update={"examples": 1}))
                    yield f"{split} segment {index} ({segment})", segment

    def sample(self, segment: Segment, rows: int | None = None) -> Examples:
        """Fresh rows of a segment that belong to no split."""
        count = rows or min(SAMPLE_ROWS, max(SAMPLE_TOKENS // segment.length, 64))
        generator = torch.Generator().manual_seed(block_seed(self.seed, "sample", 0, 0))
        with torch.device("cpu"):
            return self.task.examples(segment, generator, count)


@dataclass(frozen=True)
class Share:
    """A mean over examples, and its standard error."""

    mean: float
    error: float

    @staticmethod
    def of(correct: NDArray[np.bool_], rows: NDArray[np.int64], expected: float) -> "Share":
        """The share of labelled tokens that are correct, with equal weight for each example.

        The error is at least that of independent tokens with the ``expected`` share: a sample
        without a success, or without a failure, does not prove that there are none.
        """
        _, example = np.unique(rows, return_inverse=True)
        by_example = np.bincount(example, correct) / np.bincount(example)
        spread = by_example.std() / len(by_example) ** 0.5
        floor = (max(expected * (1 - expected), 1e-9) / len(correct)) ** 0.5
        return Share(float(by_example.mean()), float(max(spread, floor)))

    def __str__(self) -> str:
        return f"{self.mean:.3g} ± {self.error:.1g}"


def chance_is_right(subject: AnswersSubject) -> str:
    means = []
    for name, segment in subject.segments():
        sample, chance = subject.sample(segment), subject.task.chance(segment)
        inputs = sample.inputs
        features = {
            "the most common answer": inputs * 0,
            "the most common answer at the position": torch.arange(inputs.shape[1]).expand_as(
                inputs
            ),
        }
        shares = {
            description: guess(sample, feature, chance) for description, feature in features.items()
        }
        description, best = max(shares.items(), key=lambda item: item[1].mean)
        if abs(best.mean - chance) > SIGMAS * best.error:
            raise Failure(
                f"{name}: {description} is correct with {best}, but chance is given as {chance:.3g}"
            )
        means.append(best.mean)
    return f"guesses without the context reach {min(means):.3g} to {max(means):.3g}"


def query_gives_nothing_away(subject: AnswersSubject) -> str:
    if subject.task.readout == "sequence":
        return "answers are read from the last token alone"
    for name, segment in subject.segments():
        sample, hint = subject.sample(segment), subject.task.hint(segment)
        labelled = (sample.labels != IGNORE).numpy()
        copied = sample.inputs.numpy()[labelled] == sample.labels.numpy()[labelled]
        shares = {
            "the answer is the token at the query": Share.of(copied, labelled.nonzero()[0], hint),
            "the token at the query determines the answer": guess(sample, sample.inputs, hint),
        }
        for description, share in shares.items():
            if share.mean - hint > SIGMAS * share.error + LEAK:
                raise Failure(f"{name}: {description} with {share}, expected at most {hint:.3g}")
    return "the token at a query neither is the answer nor determines it"


def guess(sample: Examples, feature: torch.Tensor, chance: float) -> Share:
    """How often the commonest answer for a feature of a position, (rows, length), is correct."""
    rows, positions = (sample.labels != IGNORE).numpy().nonzero()
    answers = sample.labels.numpy()[rows, positions]
    values = feature.numpy()[rows, positions]
    fitted = rows < len(sample.labels) // 2
    if not fitted.any() or fitted.all():
        raise Failure("the sample has fewer than two examples with a label")
    commonest = _commonest(values[fitted], answers[fitted], int(values.max()) + 1)
    return Share.of(commonest[values[~fitted]] == answers[~fitted], rows[~fitted], chance)


def _commonest(
    values: NDArray[np.int64], answers: NDArray[np.int64], size: int
) -> NDArray[np.int64]:
    """The commonest answer per value below ``size``; for unseen values the commonest overall."""
    labels, counts = np.unique(answers, return_counts=True)
    best = np.full(size, labels[counts.argmax()])
    pairs, counts = np.unique(np.stack([values, answers]), axis=1, return_counts=True)
    rising = counts.argsort(kind="stable")  # numpy keeps the last of several assignments
    best[pairs[0, rising]] = pairs[1, rising]
    return best


def ceilings_fit(subject: AnswersSubject) -> str:
    lowest = 1.0
    for name, segment in subject.segments():
        chance, ceiling = subject.task.chance(segment), subject.task.ceiling(segment)
        lowest = min(lowest, ceiling)
        if not chance <= ceiling <= 1:
            raise Failure(f"{name}: ceiling {ceiling}, expected chance ({chance:.3g}) to 1")
        windows = [2**power for power in range(segment.length.bit_length())]
        windows = [*(window for window in windows if window < segment.length), segment.length]
        ceilings = {window: subject.task.window_ceiling(segment, window) for window in windows}
        known = [(window, value) for window, value in ceilings.items() if value is not None]
        if not known:
            continue
        if len(known) < len(ceilings):
            raise Failure(f"{name}: only some windows have a window ceiling")
        last = chance - 1e-9
        for window, value in known:
            if not last - 1e-9 <= value <= ceiling + 1e-9:
                raise Failure(
                    f"{name}: the ceiling of a window of {window} is {value:.4g}, expected at "
                    f"least that of smaller windows ({max(last, 0):.4g}) and at most {ceiling:.4g}"
                )
            last = value
        if abs(last - ceiling) > 1e-6:
            raise Failure(
                f"{name}: the window of all {segment.length} tokens has the ceiling {last:.4g}, "
                f"expected that of the task, {ceiling:.4g}"
            )
    return f"at least {lowest:.3g}"


def solver_reaches_the_ceiling(subject: AnswersSubject) -> str:
    assert subject.solver is not None
    for name, segment in subject.segments():
        ceiling = subject.task.ceiling(segment)
        sample = subject.sample(segment, ROWS if ceiling == 1 else SAMPLE_ROWS // 2)
        rows, correct = [], []
        for row, (inputs, labels) in enumerate(zip(sample.inputs, sample.labels, strict=True)):
            positions = (labels != IGNORE).nonzero().flatten().tolist()
            answers = list(subject.solver(inputs.tolist(), positions))
            if len(answers) != len(positions):
                raise Failure(f"{name}: {len(answers)} answers for {len(positions)} queries")
            expected = labels[positions].tolist()
            matches = [answer == label for answer, label in zip(answers, expected, strict=True)]
            if ceiling == 1 and not all(matches):
                wrong = matches.index(False)
                raise Failure(
                    f"{name}: the solver answers {answers[wrong]} at row {row}, "
                    f"position {positions[wrong]}, but the label is {expected[wrong]}"
                )
            rows += [row] * len(positions)
            correct += matches
        share = Share.of(np.array(correct), np.array(rows), ceiling)
        if abs(share.mean - ceiling) > SIGMAS * share.error + 1e-9:
            raise Failure(
                f"{name}: the solver is correct with {share}, but the ceiling is {ceiling:.4g}"
            )
    return "the solver is as accurate as the ceilings predict"


ANSWER_PROPERTIES: tuple[Property[AnswersSubject], ...] = (
    Property(
        "chance is the accuracy of a guess without the context",
        "one over the vocabulary instead of one over the possible answers, or answers that are "
        "not equally likely",
        chance_is_right,
    ),
    Property(
        "the query does not give its answer away",
        "labels shifted by one position, or the answer written into the inputs at its query",
        query_gives_nothing_away,
    ),
    Property(
        "ceilings lie between chance and 1, and rise with the window",
        "guesses left out for answers out of reach, or a window off by one",
        ceilings_fit,
    ),
)
SOLVER_PROPERTY: Property[AnswersSubject] = Property(
    "a solver that reads the inputs alone reaches the ceiling",
    "an answer that the inputs do not determine, labels off by one, or a wrong ceiling",
    solver_reaches_the_ceiling,
)
