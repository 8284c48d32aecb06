"""Generation is the same however it is cut, and depends on the seed alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recall_bench.tasks import IGNORE, Examples, Segment, data_hash, generate
from recall_bench.tasks.base import BLOCK
from recall_bench.tasks.recall.mqar import MQAR

ROWS = 2 * BLOCK + 40
TASK = MQAR(vocab_size=64, train=f"16:3:{ROWS}", validation="16:3:8", test="16:3:8")


def same(a: Examples, b: Examples) -> bool:
    gaps = [examples.slices["gap"] for examples in (a, b)]
    return all(
        torch.equal(x, y) for x, y in [(a.inputs, b.inputs), (a.labels, b.labels), tuple(gaps)]
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, ROWS), st.integers(0, ROWS))
def test_any_cut_of_a_segment_gives_the_same_rows(start: int, stop: int) -> None:
    whole = generate(TASK, "train", 0, seed=3)
    part = generate(TASK, "train", 0, seed=3, start=start, stop=stop)
    assert same(part, whole.rows(slice(start, stop)))


@pytest.mark.parametrize("size", [1, 100, BLOCK, 1000])
def test_chunks_put_together_are_the_whole(size: int) -> None:
    stop = 3 if size == 1 else ROWS
    chunks = [generate(TASK, "train", 0, 3, at, at + size) for at in range(0, stop, size)]
    assert same(Examples.concatenate(chunks), generate(TASK, "train", 0, 3, 0, stop))


def test_a_larger_segment_begins_with_the_rows_of_a_smaller_one() -> None:
    larger = TASK.model_copy(update={"train": MQAR(train="16:3:1000").train})
    assert same(generate(larger, "train", 0, 5, stop=ROWS), generate(TASK, "train", 0, 5))


def test_data_do_not_depend_on_threads_or_on_the_global_random_state() -> None:
    threads = torch.get_num_threads()
    made = []
    try:
        for count, seed in ((1, 0), (2, 1)):
            torch.set_num_threads(count)
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                made.append(generate(TASK, "train", 0, seed=3))
    finally:
        torch.set_num_threads(threads)
    assert same(*made)


def test_data_are_made_on_the_cpu_whatever_the_default_device() -> None:
    with torch.device("meta"):
        made = generate(TASK, "train", 0, seed=3, stop=4)
    assert same(made, generate(TASK, "train", 0, seed=3, stop=4))


def test_the_data_of_a_seed_never_change() -> None:
    """A changed hash means changed data: bump the task's version with it."""
    assert data_hash(TASK, "train", seed=0) == "b8d0993596a09ac0"


def test_seeds_splits_and_segments_differ() -> None:
    task = MQAR(vocab_size=64, train="16:3:8,16:3:8", validation="16:3:8", test="16:3:8")
    made = [
        generate(task, "train", 0, seed=0),
        generate(task, "train", 0, seed=1),
        generate(task, "train", 1, seed=0),
        generate(task, "validation", 0, seed=0),
        generate(task, "test", 0, seed=0),
    ]
    assert not any(same(a, b) for i, a in enumerate(made) for b in made[:i])


def test_a_task_without_a_description_shows_its_queries() -> None:
    task, segment = TASK, Segment(length=4, examples=1)
    labels = torch.tensor([IGNORE, 7, IGNORE, 9])
    spans = super(MQAR, task).describe(segment, torch.arange(4), labels)
    assert [(span.start, span.stop, span.role) for span in spans] == [
        (1, 2, "query"),
        (3, 4, "query"),
    ]
