"""Segments are read from text in the order of their fields, and refused with the form."""

from typing import Annotated

import pytest
import torch
from pydantic import BeforeValidator, Field

from recall_bench.tasks import Examples, Segment
from recall_bench.tasks.tools.segments import SegmentedTask, read_text, segments_of


class NoisySegment(Segment):
    """Two options beyond the length."""

    hops: int = Field(ge=1)
    noise: float = Field(ge=0, le=1)


class Noisy(SegmentedTask):
    """Nothing but its segments."""

    train: Annotated[tuple[NoisySegment, ...], BeforeValidator(read_text(NoisySegment))] = ()
    validation: Annotated[tuple[NoisySegment, ...], BeforeValidator(read_text(NoisySegment))] = ()
    test: Annotated[tuple[NoisySegment, ...], BeforeValidator(read_text(NoisySegment))] = ()

    def misfit(self, segment: NoisySegment) -> str | None:
        return f"{segment.hops} > {segment.length}" if segment.hops > segment.length else None

    def examples(self, segment: Segment, generator: torch.Generator, count: int) -> Examples:
        raise NotImplementedError


def test_the_options_of_a_segment_stand_between_length_and_examples() -> None:
    (one, two) = segments_of(NoisySegment, "16:2:0.25:1_000, 32:4:1:20")
    assert one == NoisySegment(length=16, hops=2, noise=0.25, examples=1000)
    assert (two.noise, two.examples) == (1.0, 20)
    assert str(one) == "16:2:0.25:1000"
    assert segments_of(NoisySegment, str(one)) == (one,)


@pytest.mark.parametrize("text", ["16:2:1", "16:2:0.2:10:3", "16:two:0.2:10", "16:2.5:0:1", ""])
def test_another_form_is_refused_with_the_form_and_an_example(text: str) -> None:
    message = rf"segment '{text}' is not of the form length:hops:noise:examples.*'64:4:4:100000,"
    with pytest.raises(ValueError, match=message):
        Noisy(train=text)


def test_a_segment_that_does_not_fit_is_named_with_its_split() -> None:
    with pytest.raises(ValueError, match=r"test segment 4:5:0\.0:1: 5 > 4"):
        Noisy(train="4:1:0:1", test="4:5:0:1")


def test_splits_are_the_fields() -> None:
    task = Noisy(train="4:1:0:1", test="8:1:0:1,9:1:0:1")
    assert [[s.length for s in task.segments(n)] for n in ("train", "validation", "test")] == [
        [4],
        [],
        [8, 9],
    ]
