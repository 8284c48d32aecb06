"""What can be known about a task's answers: by a solver, by a blind guess, and by a window.

Guesses are fitted on half of the rows of a sample and scored on the other half, so that what they
get is what a guess gets, and not what a table of the sample would.
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
"""``solve(inputs, asked)``: the tokens of one example and the labelled positions -> the answers.

Where an answer cannot be known, the solver gives its best guess.
"""

ROWS = 32
"""Rows of a segment that a solver gets where it must be right throughout."""
SAMPLE_ROWS, SAMPLE_TOKENS = 512, 2**19
"""At most so many rows, and so many tokens in all (but 64 rows at least), where shares count."""
SIGMAS = 4.5
"""Standard errors that a share may be off: once in 150,000 comparisons by accident."""
LEAK = 0.02
"""What the token at a query may tell beyond `Task.hint`, which may leave out what is small."""


@dataclass(frozen=True)
class AnswersSubject:
    """A task, the seed of the sample, and a solver where there is one."""

    task: Task
    seed: int
    solver: Solver | None = None

    def segments(self) -> Iterator[tuple[str, Segment]]:
        """Every distinct segment, with a name for messages."""
        seen: list[Segment] = []
        for split in SPLITS:
            for index, segment in enumerate(self.task.segments(split)):
                if segment.model_copy(update={"examples": 1}) not in seen:
                    seen.append(segment.model_copy(update={"examples": 1}))
                    yield f"{split} segment {index} ({segment})", segment

    def sample(self, segment: Segment, rows: int | None = None) -> Examples:
        """Fresh rows of a segment, from no split."""
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
        """Of the labelled tokens that are right, each example weighing the same.

        The error is at least that of independent tokens with the ``expected`` share: a sample that
        holds no success, or no failure, does not prove that there are none.
        """
        _, example = np.unique(rows, return_inverse=True)
        by_example = np.bincount(example, correct) / np.bincount(example)
        spread = by_example.std() / len(by_example) ** 0.5
        floor = (max(expected * (1 - expected), 1e-9) / len(correct)) ** 0.5
        return Share(float(by_example.mean()), float(max(spread, floor)))

    def __str__(self) -> str:
        return f"{self.mean:.3g} ± {self.error:.1g}"


def chance_is_right(subject: AnswersSubject) -> str:
    seen = []
    for name, segment in subject.segments():
        made, chance = subject.sample(segment), subject.task.chance(segment)
        guesses = {
            "the most common answer": lambda made: made.inputs * 0,
            "the most common answer at the position": lambda made: torch.arange(
                made.inputs.shape[1]
            ).expand_as(made.inputs),
        }
        shares = {what: guess(made, feature(made), chance) for what, feature in guesses.items()}
        what, best = max(shares.items(), key=lambda item: item[1].mean)
        if abs(best.mean - chance) > SIGMAS * best.error:
            raise Failure(f"{name}: {what} is right with {best}, chance is given as {chance:.3g}")
        seen.append(best.mean)
    return f"guesses without the context get {min(seen):.3g} to {max(seen):.3g}"


def query_gives_nothing_away(subject: AnswersSubject) -> str:
    if subject.task.readout == "sequence":
        return "answers are read from the last token alone"
    for name, segment in subject.segments():
        made, hint = subject.sample(segment), subject.task.hint(segment)
        asked = (made.labels != IGNORE).numpy()
        copied = made.inputs.numpy()[asked] == made.labels.numpy()[asked]
        shares = {
            "the answer is the token at the query": Share.of(copied, asked.nonzero()[0], hint),
            "the token at the query determines the answer": guess(made, made.inputs, hint),
        }
        for what, share in shares.items():
            if share.mean - hint > SIGMAS * share.error + LEAK:
                raise Failure(f"{name}: {what} with {share}, expected at most {hint:.3g}")
    return "neither is it the answer, nor does it determine it"


def guess(made: Examples, feature: torch.Tensor, chance: float) -> Share:
    """How often the commonest answer for a feature of a position, (rows, length), is right."""
    rows, at = (made.labels != IGNORE).numpy().nonzero()
    answers = made.labels.numpy()[rows, at]
    values = feature.numpy()[rows, at]
    fitted = rows < len(made.labels) // 2
    if not fitted.any() or fitted.all():
        raise Failure("no two examples that ask something")
    commonest = _commonest(values[fitted], answers[fitted], int(values.max()) + 1)
    return Share.of(commonest[values[~fitted]] == answers[~fitted], rows[~fitted], chance)


def _commonest(
    values: NDArray[np.int64], answers: NDArray[np.int64], size: int
) -> NDArray[np.int64]:
    """For each value below ``size`` the commonest answer; the commonest of all where unseen."""
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
        found = [subject.task.window_ceiling(segment, window) for window in windows]
        known = [(w, value) for w, value in zip(windows, found, strict=True) if value is not None]
        if not known:
            continue
        if len(known) < len(windows):
            raise Failure(f"{name}: a window ceiling for some windows and not for others")
        last = chance - 1e-9
        for window, value in known:
            if not last - 1e-9 <= value <= ceiling + 1e-9:
                raise Failure(
                    f"{name}: the ceiling of a window of {window} is {value:.4g}, expected at "
                    f"least that of a smaller one ({max(last, 0):.4g}), at most {ceiling:.4g}"
                )
            last = value
        if abs(last - ceiling) > 1e-6:
            raise Failure(
                f"{name}: the window of all {segment.length} tokens has the ceiling {last:.4g}, "
                f"expected that of any model, {ceiling:.4g}"
            )
    return f"at least {lowest:.3g}"


def solver_reaches_the_ceiling(subject: AnswersSubject) -> str:
    assert subject.solver is not None
    for name, segment in subject.segments():
        ceiling = subject.task.ceiling(segment)
        made = subject.sample(segment, ROWS if ceiling == 1 else SAMPLE_ROWS // 2)
        rows, correct = [], []
        for row, (inputs, labels) in enumerate(zip(made.inputs, made.labels, strict=True)):
            asked = (labels != IGNORE).nonzero().flatten().tolist()
            answers = list(subject.solver(inputs.tolist(), asked))
            if len(answers) != len(asked):
                raise Failure(f"{name}: {len(answers)} answers for {len(asked)} queries")
            right = [int(labels[at]) == answer for at, answer in zip(asked, answers, strict=True)]
            if ceiling == 1 and not all(right):
                at = asked[right.index(False)]
                raise Failure(
                    f"{name}: the solver answers {answers[right.index(False)]} at row {row}, "
                    f"position {at}, and the label is {int(labels[at])}"
                )
            rows += [row] * len(asked)
            correct += right
        share = Share.of(np.array(correct), np.array(rows), ceiling)
        if abs(share.mean - ceiling) > SIGMAS * share.error + 1e-9:
            raise Failure(f"{name}: the solver is right with {share}, the ceiling is {ceiling:.4g}")
    return "the solver is right as often as the ceilings say"


ANSWER_PROPERTIES: tuple[Property[AnswersSubject], ...] = (
    Property(
        "chance is what a guess without the context gets",
        "one over the vocabulary instead of one over the possible answers, or answers that are "
        "not equally likely",
        chance_is_right,
    ),
    Property(
        "the query does not give its answer away",
        "labels shifted by one position, or the answer written into the inputs where it is asked",
        query_gives_nothing_away,
    ),
    Property(
        "ceilings lie between chance and 1, and rise with the window",
        "guessing left out where the answer is out of reach, or a window off by one",
        ceilings_fit,
    ),
)
SOLVER_PROPERTY: Property[AnswersSubject] = Property(
    "a solver that reads the inputs alone reaches the ceiling",
    "an answer that the inputs do not determine, labels off by one, or a wrong ceiling",
    solver_reaches_the_ceiling,
)
