"""`check_task` verifies that a task keeps the contract of `recall_bench.tasks.base`."""

import itertools
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from recall_bench import registry
from recall_bench.config import build, explain
from recall_bench.errors import UserError
from recall_bench.tasks import IGNORE, SPLITS, Examples, Segment, Split, Task, generate
from recall_bench.tasks.base import BLOCK
from recall_bench.testing.answers import (
    ANSWER_PROPERTIES,
    SOLVER_PROPERTY,
    AnswersSubject,
    Solver,
)
from recall_bench.testing.report import Failure, Property, Report, run

ROWS = 32
"""Rows of each segment that the checks read."""


@dataclass(frozen=True)
class TaskSubject:
    """A task and the seed of its examples."""

    task: Task
    seed: int

    def segments(self) -> Iterator[tuple[Split, int, Segment]]:
        """(split, index, segment) of every segment of the task."""
        for split in SPLITS:
            for index, segment in enumerate(self.task.segments(split)):
                yield split, index, segment

    def samples(self) -> Iterator[tuple[str, Segment, Examples]]:
        """The first rows of every segment: (name for messages, segment, examples)."""
        for split, index, segment in self.segments():
            made = generate(self.task, split, index, self.seed, stop=ROWS)
            yield f"{split} segment {index}", segment, made


def _named(examples: Examples) -> dict[str, Tensor]:
    parts: dict[str, int | Tensor] = {"inputs": examples.inputs, "labels": examples.labels}
    parts.update({f"slice {name!r}": value for name, value in examples.slices.items()})
    return {name: torch.as_tensor(value) for name, value in parts.items()}


def _same(got: Examples, expected: Examples, what: str) -> None:
    got_tensors, expected_tensors = _named(got), _named(expected)
    if got_tensors.keys() != expected_tensors.keys():
        raise Failure(f"{what}: has {sorted(got_tensors)}, expected {sorted(expected_tensors)}")
    for name, tensor in got_tensors.items():
        reference = expected_tensors[name]
        if tensor.shape != reference.shape:
            shapes = tuple(tensor.shape), tuple(reference.shape)
            raise Failure(f"{what}: {name} has shape {shapes[0]}, expected {shapes[1]}")
        different = (tensor != reference).nonzero()
        if len(different):
            index = tuple(different[0].tolist())
            raise Failure(
                f"{what}: {name} differ at {len(different)} places, first at {index}, "
                f"{int(tensor[index])} against {int(reference[index])}"
            )


def splits(subject: TaskSubject) -> str:
    for split in SPLITS:
        if not subject.task.segments(split):
            raise Failure(f"the {split} split has no segments")
        for index, segment in enumerate(subject.task.segments(split)):
            if not isinstance(segment, Segment):
                raise Failure(f"{split} segment {index} is a {type(segment).__name__}")
    return ", ".join(f"{split}: {len(subject.task.segments(split))}" for split in SPLITS)


def shapes(subject: TaskSubject) -> str:
    for name, segment, made in subject.samples():
        expected = (min(ROWS, segment.examples), segment.length)
        for part, tensor in (("inputs", made.inputs), ("labels", made.labels)):
            if tuple(tensor.shape) != expected or tensor.dtype != torch.int64:
                raise Failure(
                    f"{name}: {part} are {tuple(tensor.shape)} {tensor.dtype}, "
                    f"expected {expected} torch.int64"
                )
            if tensor.device.type != "cpu":
                raise Failure(f"{name}: {part} are on {tensor.device}, expected the CPU")
    return "(rows, length), int64, on the CPU"


def in_range(subject: TaskSubject) -> str:
    size = subject.task.tokens
    for name, _, made in subject.samples():
        for part, tensor, allowed in (
            ("inputs", made.inputs, torch.zeros_like(made.inputs, dtype=torch.bool)),
            ("labels", made.labels, made.labels == IGNORE),
        ):
            wrong = ((tensor < 0) | (tensor >= size)) & ~allowed
            if wrong.any():
                index = tuple(wrong.nonzero()[0].tolist())
                raise Failure(
                    f"{name}: {part} at {index} is {int(tensor[index])}, expected 0 to {size - 1}"
                    f"{f', or {IGNORE} for no label' if part == 'labels' else ''}"
                )
    return f"0 to {size - 1}"


def asks_something(subject: TaskSubject) -> str:
    for name, _, made in subject.samples():
        silent = (made.labels == IGNORE).all(1).nonzero()
        if len(silent):
            raise Failure(f"{name}: example {int(silent[0])} has no label")
    return "every sampled example"


def slices(subject: TaskSubject) -> str:
    names: set[str] = set()
    for name, _, made in subject.samples():
        for key, value in made.slices.items():
            names.add(key)
            if isinstance(value, int) and not isinstance(value, bool):
                continue
            if not isinstance(value, Tensor):
                raise Failure(f"{name}: slice {key!r} is a {type(value).__name__}")
            if value.shape != made.labels.shape or value.dtype != torch.int64:
                raise Failure(
                    f"{name}: slice {key!r} is {tuple(value.shape)} {value.dtype}, expected "
                    f"{tuple(made.labels.shape)} torch.int64, as the labels"
                )
        if set(made.slices) != names:
            raise Failure(f"{name}: slices {sorted(made.slices)}, elsewhere {sorted(names)}")
    return ", ".join(sorted(names)) or "none"


def options_are_slices(subject: TaskSubject) -> str:
    options: set[str] = set()
    for name, segment, made in subject.samples():
        own = {*type(segment).model_fields} - {*Segment.model_fields}
        if missing := own - made.slices.keys():
            raise Failure(f"{name}: no slice for {sorted(missing)}, only {sorted(made.slices)}")
        options |= own
    return ", ".join(sorted(options)) or "segments have no options of their own"


def chance(subject: TaskSubject) -> str:
    values = []
    for split, index, segment in subject.segments():
        value = subject.task.chance(segment)
        if not 0 < value < 1:
            raise Failure(f"{split} segment {index}: {value}, expected a number between 0 and 1")
        values.append(value)
    return f"{min(values):.3g} to {max(values):.3g}"


def seed_decides(subject: TaskSubject) -> str:
    for split, index, _ in subject.segments():
        made = []
        for state in range(2):
            with _global_randomness(state):
                made.append(generate(subject.task, split, index, subject.seed, stop=ROWS))
        _same(made[1], made[0], f"{split} segment {index} generated twice, second against first")
        other = generate(subject.task, split, index, subject.seed + 1, stop=ROWS)
        if torch.equal(other.inputs, made[0].inputs):
            raise Failure(
                f"{split} segment {index}: seeds {subject.seed} and {subject.seed + 1} "
                f"give the same examples"
            )
    return "equal seeds give equal examples, different seeds different ones"


def cuts_do_not_matter(subject: TaskSubject) -> str:
    for split, index, segment in subject.segments():
        stop = min(segment.examples, BLOCK + ROWS)
        whole = generate(subject.task, split, index, subject.seed, stop=stop)
        cuts = sorted({0, 1, stop // 3, max(stop - ROWS - 5, 0), stop})
        parts = [
            generate(subject.task, split, index, subject.seed, first, after)
            for first, after in itertools.pairwise(cuts)
        ]
        what = f"{split} segment {index} generated in pieces, cut at {cuts[1:-1]}"
        _same(Examples.concatenate(parts), whole, what)
        made = generate(subject.task, split, index, subject.seed, stop=1)
        _same(made, whole.rows(slice(0, 1)), f"{split} segment {index}, its first row alone")
    return "the pieces together equal the whole"


def global_state_untouched(subject: TaskSubject) -> str:
    before = _random_states()
    for _ in subject.samples():
        pass
    for name, state in _random_states().items():
        if state != before[name]:
            raise Failure(f"generating examples changed the global random state of {name}")
    return ", ".join(before)


def survives_json(subject: TaskSubject) -> str:
    task = subject.task
    if not task.name:
        return "not registered, so never stored"
    copy = build(registry.tasks, task.model_dump(mode="json"))
    if copy != task:
        raise Failure(f"after a round trip through JSON, {copy!r} is not {task!r}")
    return "equal after a round trip"


def descriptions(subject: TaskSubject) -> str:
    for name, segment, made in subject.samples():
        end = 0
        for span in subject.task.describe(segment, made.inputs[0], made.labels[0]):
            if not end <= span.start < span.stop <= segment.length:
                raise Failure(
                    f"{name}: {span} overlaps the span before it or leaves 0 to {segment.length}"
                )
            end = span.stop
    return "spans in order and inside the example"


def _random_states() -> dict[str, Any]:
    algorithm, keys, *rest = np.random.get_state()  # noqa: NPY002 - the global state is the point
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": (algorithm, np.asarray(keys).tobytes(), *rest),
        "random": random.getstate(),
    }


@contextmanager
def _global_randomness(seed: int) -> Iterator[None]:
    """Seed every global generator for the block, and restore them afterwards."""
    python, array = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        try:
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            yield
        finally:
            random.setstate(python)
            np.random.set_state(array)  # noqa: NPY002


TASK_PROPERTIES: tuple[Property[TaskSubject], ...] = (
    Property("every split has segments", "an option left empty", splits),
    Property(
        "inputs and labels are (rows, length), int64, on the CPU",
        "a number of examples other than the requested count, or int32 from a fast path",
        shapes,
    ),
    Property("tokens are inside the vocabulary", "an offset that is off by one", in_range),
    Property("every example asks something", "queries beyond the end of the row", asks_something),
    Property(
        "slices have the shape of labels",
        "a slice with one value per query instead of one per position",
        slices,
    ),
    Property(
        "every option of a segment is a slice",
        "a segment's option that examples() does not pass on",
        options_are_slices,
    ),
    Property("chance is between 0 and 1", "a percentage, or zero for a guess", chance),
    Property(
        "the seed decides the examples",
        "numbers drawn from a global generator, or a set or dict in hash order",
        seed_decides,
    ),
    Property(
        "any way of cutting a segment gives the same rows",
        "values that the task keeps from one call to the next",
        cuts_do_not_matter,
    ),
    Property(
        "no global random state is touched",
        "a call without generator=, or torch.manual_seed",
        global_state_untouched,
    ),
    Property("options survive JSON", "an option that is not plain data", survives_json),
    Property("descriptions fit the example", "spans out of order", descriptions),
)


def check_task(
    subject: str | Task | type[Task],
    *,
    seed: int = 0,
    solver: Solver | None = None,
    **options: Any,
) -> Report:
    """Verify the contract of a task, property by property.

    ``subject`` is the name of a task, a `Task` or its class; ``options`` go with a name or class.
    ``solver(inputs, positions)`` gets the tokens of one example and the labelled positions, as
    lists, and returns the answers, guessing those that the inputs do not determine; it must reach
    the task's ceiling. Raises `UserError` for an unknown name or option.
    """
    if isinstance(subject, str):
        subject = build(registry.tasks, {"name": subject, **options})
    elif isinstance(subject, type):
        cls = subject
        try:
            subject = cls(**options)
        except ValidationError as error:
            raise UserError(f"task '{cls.name}': {explain(error, cls)}.") from error
    elif options:
        raise ValueError(
            f"Options {sorted(options)} do not apply to a task that is already built. Expected its "
            f"name or class."
        )
    assert isinstance(subject, Task)
    title = subject.name or type(subject).__name__
    # In text, the words of an answer help to predict the next ones, so these do not hold.
    guesses = () if subject.codec() else ANSWER_PROPERTIES
    answers = (*guesses, *([SOLVER_PROPERTY] if solver else []))
    results = [
        *run(TaskSubject(subject, seed), TASK_PROPERTIES),
        *run(AnswersSubject(subject, seed, solver), answers),
    ]
    return Report(title, tuple(results))
