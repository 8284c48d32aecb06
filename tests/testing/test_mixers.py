"""The contract checks pass what is right and name what is wrong."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from broken_mixers import (
    WIDTH,
    Broken,
    Correct,
    CountsOnSelf,
    ForgetsTheTail,
    Growing,
    HidesTheTailOnSelf,
    Identity,
    LooksAhead,
    Raises,
    broken_mixers,
)
from pydantic import field_serializer
from rich.console import Console

from recall_bench import registry
from recall_bench.errors import UserError
from recall_bench.tasks import IGNORE, Examples, Segment, Split, Task
from recall_bench.testing import Report, check_component, check_mixer, check_task
from recall_bench.testing.answers import ANSWER_PROPERTIES
from recall_bench.testing.mixers import MIXER_PROPERTIES
from recall_bench.testing.tasks import TASK_PROPERTIES

EXAMPLE = Path(__file__).parents[2] / "examples" / "decay_attention.py"
SMALL = {
    "based": {"window": 8},
    "sliding-window": {"window": 8},
    "rwkv5": {"head_dim": 16},
    "rwkv6": {"head_dim": 16},
    "hgrn2": {"head_dim": 16},
    "rwkv7": {"head_dim": 16},
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def message_of(report: Report, name: str) -> str:
    return next(result.message for result in report.results if result.property == name)


@pytest.mark.parametrize("mixer", [Correct, Growing, Identity])
def test_a_correct_mixer_passes_every_check(mixer: type) -> None:
    report = check_mixer(mixer, width=WIDTH)
    report.raise_if_failed()
    assert report.passed
    assert [result.property for result in report.results] == [p.name for p in MIXER_PROPERTIES]


@pytest.mark.parametrize("mixer", broken_mixers(), ids=lambda cls: cls.__name__)
def test_a_broken_mixer_is_caught_by_the_property_it_breaks(mixer: type[Broken]) -> None:
    report = check_mixer(mixer, width=WIDTH, length=24)
    assert mixer.breaks in [failure.property for failure in report.failures]
    with pytest.raises(AssertionError, match=f"FAILED {mixer.breaks}: "):
        report.raise_if_failed()


def test_every_property_of_mixers_catches_something() -> None:
    assert {cls.breaks for cls in broken_mixers()} == {p.name for p in MIXER_PROPERTIES}


@pytest.mark.parametrize("name", registry.architectures.builtin())
def test_built_in_architectures_keep_the_contract(name: str) -> None:
    check_mixer(name, d_model=32, length=40, **SMALL.get(name, {})).raise_if_failed()


def test_the_example_plugin_keeps_the_contract_and_is_short() -> None:
    module = registry.load_plugin(EXAMPLE)
    (architecture,) = registry.registered_by(module)
    check_component(architecture).raise_if_failed()
    assert len(EXAMPLE.read_text().splitlines()) < 65


def test_every_layer_of_based_is_checked() -> None:
    report = check_mixer("based", d_model=16, window=8, length=24)
    layers = {result.property.partition(": ")[0] for result in report.results}
    assert layers == {"short-conv", "taylor-attention", "sliding-window"}


def test_messages_say_where_how_much_and_why() -> None:
    report = check_mixer(LooksAhead, width=WIDTH, length=24)
    found = message_of(report, "changing the future changes no past output")
    assert "largest difference at row" in found
    assert "position 0, channel" in found
    assert "of the largest magnitude, allowed is 1e-09" in found
    assert "a mask that is off by one" in found


def test_a_state_that_misses_something_is_located() -> None:
    found = message_of(
        check_mixer(ForgetsTheTail, width=WIDTH, length=24), "forward equals a scan of step"
    )
    assert "such as the tail of a convolution" in found


def test_what_step_changes_on_self_is_named() -> None:
    found = message_of(
        check_mixer(HidesTheTailOnSelf, width=WIDTH, length=24), "the state holds everything"
    )
    assert "raised AttributeError" in found
    found = message_of(
        check_mixer(CountsOnSelf, width=WIDTH, length=24), "the state holds everything"
    )
    assert "(step changed self.tokens)" in found


def test_an_exception_inside_a_mixer_is_a_failing_property_with_its_place() -> None:
    report = check_mixer(Raises, width=WIDTH, length=24)
    found = message_of(report, "outputs have the shape and dtype of inputs")
    assert "raised RuntimeError: this mixer has no recurrent form" in found
    assert "broken_mixers.py, line" in found
    again = message_of(report, "forward equals a scan of step")
    assert again == "as under 'outputs have the shape and dtype of inputs'"


def test_checks_leave_random_state_and_gradient_mode_alone() -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    python_state = random.getstate()
    check_mixer(Correct, width=WIDTH, length=24)
    check_task("mqar", **SEGMENTS)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state[1])  # noqa: NPY002
    assert random.getstate() == python_state
    assert torch.is_grad_enabled()


def test_a_small_mixer_is_checked_in_two_seconds() -> None:
    check_mixer(Correct, width=WIDTH)
    start = time.process_time()
    check_mixer(Correct, width=WIDTH)
    assert time.process_time() - start < 2


def test_a_report_is_a_table_for_rich() -> None:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(check_mixer(LooksAhead, width=WIDTH, length=24))
    assert "FAILED" in capture.get()
    assert "passed" in capture.get()


def test_unknown_names_and_knobs_are_the_callers_mistakes() -> None:
    with pytest.raises(UserError, match="Did you mean 'based'"):
        check_mixer("baesd")
    with pytest.raises(UserError, match="unknown option 'windw'"):
        check_mixer("based", windw=3)
    with pytest.raises(UserError, match="Did you mean 'mqar'"):
        check_task("mqarr")
    with pytest.raises(ValueError, match="needs width="):
        check_mixer(Correct)


SEGMENTS = {"vocab_size": 64, "train": "24:3:300", "validation": "24:3:9", "test": "24:5:9"}


@pytest.mark.parametrize("options", [{}, {"filler": "any"}, {"filler": "zero", "repeats": 2}])
def test_mqar_keeps_the_contract_of_tasks(options: dict[str, object]) -> None:
    segments = SEGMENTS | ({"test": "24:3:9"} if "repeats" in options else {})
    check_task("mqar", **segments, **options).raise_if_failed()


class Distant(Segment):
    """Has an option of its own."""

    distance: int


class Copy(Task):
    """A minimal correct task: the last token asks for the first."""

    @property
    def tokens(self) -> int:
        return 10

    def segments(self, split: Split) -> tuple[Segment, ...]:
        return (Segment(length=5, examples=300),)

    def examples(self, segment: Segment, generator: torch.Generator, count: int) -> Examples:
        inputs = torch.randint(self.tokens, (count, segment.length), generator=generator)
        labels = torch.full_like(inputs, IGNORE)
        labels[:, -1] = inputs[:, 0]
        return Examples(inputs, labels, {"first": inputs[:, :1].expand_as(inputs).clone()})

    def chance(self, segment: Segment) -> float:
        return 1 / self.tokens


class BrokenTask(Copy):
    """Spoils what `Copy` makes, in one way at a time."""

    breaks: str

    def spoil(self, made: Examples) -> Examples:
        inputs, labels, slices = made.inputs, made.labels, dict(made.slices)
        match self.breaks:
            case "tokens are inside the vocabulary":
                labels[0, -1] = 10
            case "every example asks something":
                labels[3] = IGNORE
            case "slices have the shape of labels":
                slices["first"] = inputs[:, 0]
            case "the seed decides the examples":
                inputs = torch.rand(inputs.shape).mul(10).long()
            case "inputs and labels are (rows, length), int64, on the CPU":
                inputs = inputs.int()
            case "any way of cutting a segment gives the same rows":
                inputs[:, 1] = next(CALLS) % 10
            case "no global random state is touched":
                random.random()
        return Examples(inputs, labels, slices)

    def examples(self, segment: Segment, generator: torch.Generator, count: int) -> Examples:
        return self.spoil(super().examples(segment, generator, count))

    def segments(self, split: Split) -> tuple[Segment, ...]:
        match self.breaks:
            case "every split has segments":
                return ()
            case "every option of a segment is a slice":
                return (Distant(length=5, examples=300, distance=4),)
        return super().segments(split)

    def chance(self, segment: Segment) -> float:
        return 10.0 if self.breaks == "chance is between 0 and 1" else super().chance(segment)

    def describe(self, segment, inputs, labels):  # type: ignore[no-untyped-def]
        spans = super().describe(segment, inputs, labels)
        return spans * 2 if self.breaks == "descriptions fit the example" else spans


CALLS = iter(range(10**9))


def test_a_correct_task_passes_every_check() -> None:
    report = check_task(Copy)
    report.raise_if_failed()
    properties = (*TASK_PROPERTIES, *ANSWER_PROPERTIES)
    assert [result.property for result in report.results] == [p.name for p in properties]


@pytest.mark.parametrize(
    "name", [checked.name for checked in TASK_PROPERTIES if checked.name != "options survive JSON"]
)
def test_a_broken_task_is_caught_by_the_property_it_breaks(name: str) -> None:
    report = check_task(BrokenTask, breaks=name)
    assert name in [failure.property for failure in report.failures]
    assert "Usual cause" in message_of(report, name)


def test_a_task_that_json_changes_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lossy(Copy):
        scale: float = 0.5

        @field_serializer("scale")
        def _whole(self, scale: float) -> int:
            return round(scale)

    monkeypatch.setattr(Lossy, "name", "lossy")
    monkeypatch.setitem(registry.tasks._registered, "lossy", Lossy)
    report = check_task("lossy", scale=0.75)
    assert [failure.property for failure in report.failures] == ["options survive JSON"]
