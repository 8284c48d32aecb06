"""MQAR is what the paper describes: what is shown, what is asked, and where."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recall_bench.config import build
from recall_bench.registry import tasks
from recall_bench.tasks import IGNORE, Examples, generate
from recall_bench.tasks.recall.mqar import MQAR, MQARSegment


@st.composite
def mqar_tasks(draw: st.DrawFn, **fixed: object) -> MQAR:
    """Tasks with one segment that fits, the tightest geometries and vocabularies included."""
    pairs = draw(st.integers(1, 12))
    repeats = draw(st.integers(1, 3))
    length = 2 * pairs * (repeats + 1) + draw(st.integers(0, 9))
    segment = f"{length}:{pairs}:3"
    options = {
        "vocab_size": 2 * pairs + 2 + draw(st.integers(0, 200)),
        "power_a": draw(st.sampled_from([0.01, 0.5, 1.0, 2.0])),
        "filler": draw(st.sampled_from(["distinct", "any", "zero"])),
        "repeats": repeats,
    }
    return task_of(segment, **options | fixed)


def task_of(segment: str, **options: object) -> MQAR:
    return MQAR(train=segment, validation=segment, test=segment, **options)


def made(task: MQAR, seed: int = 0) -> tuple[MQARSegment, Examples]:
    return task.train[0], generate(task, "train", 0, seed)


def solve(row: list[int], labels: list[int], prefix: int) -> list[int]:
    """The answers of a solver that remembers each pair it was shown."""
    memory = dict(zip(row[:prefix:2], row[1:prefix:2], strict=True))
    return [memory[token] for token, label in zip(row, labels, strict=True) if label != IGNORE]


@settings(max_examples=60, deadline=None)
@given(mqar_tasks(), st.integers(0, 2**31))
def test_a_solver_that_remembers_the_pairs_answers_every_query(task: MQAR, seed: int) -> None:
    segment, examples = made(task, seed)
    prefix = 2 * segment.pairs * task.repeats
    for row, labels in zip(examples.inputs.tolist(), examples.labels.tolist(), strict=True):
        answers = [label for label in labels if label != IGNORE]
        assert len(answers) == segment.pairs
        assert solve(row, labels, prefix) == answers


@settings(max_examples=60, deadline=None)
@given(mqar_tasks(), st.integers(0, 2**31))
def test_keys_and_values_are_distinct_in_a_row_and_from_their_own_halves(
    task: MQAR, seed: int
) -> None:
    segment, examples = made(task, seed)
    half = task.vocab_size // 2
    for row in examples.inputs[:, : 2 * segment.pairs].tolist():
        keys, values = row[::2], row[1::2]
        assert len(set(keys)) == len(set(values)) == segment.pairs
        assert all(1 <= key < half for key in keys)
        assert all(half <= value < task.vocab_size for value in values)


@settings(max_examples=60, deadline=None)
@given(mqar_tasks(filler="distinct"), st.integers(0, 2**31))
def test_each_key_returns_once_and_only_where_it_is_asked(task: MQAR, seed: int) -> None:
    segment, examples = made(task, seed)
    prefix = 2 * segment.pairs * task.repeats
    for row, labels in zip(examples.inputs.tolist(), examples.labels.tolist(), strict=True):
        keys = set(row[: 2 * segment.pairs : 2])
        again = [at for at in range(prefix, segment.length) if row[at] in keys]
        assert again == [at for at, label in enumerate(labels) if label != IGNORE]
        assert all((at - prefix) % 2 == 0 for at in again)


@settings(max_examples=30, deadline=None)
@given(mqar_tasks())
def test_pairs_are_listed_as_often_as_asked_in_the_same_order(task: MQAR) -> None:
    segment, examples = made(task)
    listings = examples.inputs[:, : 2 * segment.pairs * task.repeats]
    first = listings[:, : 2 * segment.pairs]
    assert torch.equal(listings, first.repeat(1, task.repeats))


@settings(max_examples=30, deadline=None)
@given(mqar_tasks())
def test_the_gap_is_the_distance_to_the_last_listing_up_to_a_power_of_two(task: MQAR) -> None:
    segment, examples = made(task)
    prefix = 2 * segment.pairs * task.repeats
    assert examples.slices["pairs"] == segment.pairs
    assert examples.slices["length"] == segment.length
    gaps = examples.slices["gap"]
    assert isinstance(gaps, torch.Tensor)
    for row, at in (examples.labels != IGNORE).nonzero().tolist():
        shown = examples.inputs[row, :prefix:2].tolist()
        last = max(2 * i for i, key in enumerate(shown) if key == examples.inputs[row, at])
        assert gaps[row, at] == 2 ** math.ceil(math.log2(at - last))


def test_the_fraction_of_queries_in_a_window_is_the_published_ceiling() -> None:
    task = MQAR()
    ceilings = {8: 0.060, 16: 0.143, 32: 0.313, 64: 0.514, 128: 0.655, 256: 0.797, 512: 0.936}
    total = dict.fromkeys(ceilings, 0.0)
    for index in range(len(task.test)):
        examples = generate(task, "test", index, 0, stop=256)
        gaps = examples.slices["gap"]
        assert isinstance(gaps, torch.Tensor)
        for window in ceilings:
            within = gaps[examples.labels != IGNORE] <= window
            total[window] += float(within.double().mean()) / len(task.test)
    assert total == pytest.approx(ceilings, abs=0.005)


def chi_square_z(counts: torch.Tensor, expected: torch.Tensor) -> float:
    """The chi-square statistic in standard deviations from its mean (Wilson-Hilferty)."""
    freedom = len(counts) - 1
    statistic = float(((counts - expected) ** 2 / expected).sum())
    return ((statistic / freedom) ** (1 / 3) - 1 + 2 / (9 * freedom)) / (2 / (9 * freedom)) ** 0.5


@pytest.mark.parametrize("power_a", [0.01, 0.5, 1.0])
def test_query_slots_follow_the_power_law_without_replacement(power_a: float) -> None:
    rows, slots = 20_000, 10
    task = task_of(f"{4 + 2 * slots}:2:{rows}", vocab_size=64, power_a=power_a)
    inputs = generate(task, "train", 0, seed=1).inputs
    drawn = [(inputs[:, 4:] == inputs[:, at : at + 1]).int().argmax(1) // 2 for at in (0, 2)]
    p = torch.arange(1, slots + 1, dtype=torch.float64) ** (power_a - 1)
    p /= p.sum()
    first = torch.bincount(drawn[0], minlength=slots)
    assert abs(chi_square_z(first, rows * p)) < 4
    # The second draw follows the same law among the slots that are left.
    joint = p[:, None] * p[None, :] / (1 - p[:, None])
    apart = ~torch.eye(slots, dtype=torch.bool)
    both = torch.bincount(drawn[0] * slots + drawn[1], minlength=slots**2).view(slots, slots)
    assert both.diagonal().sum() == 0
    assert abs(chi_square_z(both[apart], rows * joint[apart])) < 4


@pytest.mark.parametrize("vocab_size", [12, 64])
def test_keys_values_and_filler_are_uniform(vocab_size: int) -> None:
    """A vocabulary of 12 takes the shuffle, of 64 the redrawing of duplicates."""
    rows, half = 12_800, vocab_size // 2
    task = task_of(f"16:3:{rows}", vocab_size=vocab_size)
    examples = generate(task, "train", 0, seed=3)
    for at in range(6):
        first, count = (1, half - 1) if at % 2 == 0 else (half, half)
        counts = torch.bincount(examples.inputs[:, at] - first, minlength=count)
        assert abs(chi_square_z(counts, torch.full((count,), rows / count))) < 4
    ordered = examples.inputs[:, 0] < examples.inputs[:, 2]
    assert ordered.double().mean() == pytest.approx(0.5, abs=0.02)
    # Filler at an odd slot, as a rank among the tokens that are no key of its row.
    keys, filler = examples.inputs[:, 0:6:2], examples.inputs[:, 7:8]
    rank = (filler - (keys < filler).sum(1, keepdim=True)).flatten()
    counts = torch.bincount(rank, minlength=vocab_size - 3)
    assert abs(chi_square_z(counts, torch.full_like(counts, rows) / len(counts))) < 4


def test_zoologys_filler_may_repeat_a_key_and_zero_filler_is_zero() -> None:
    inputs = generate(task_of("32:2:64", vocab_size=16, filler="any"), "train", 0, 0).inputs
    assert (inputs[:, 5::2] == inputs[:, 0:1]).any()
    examples = generate(task_of("32:2:64", vocab_size=16, filler="zero"), "train", 0, 0)
    assert (examples.inputs[:, 4:][examples.labels[:, 4:] == IGNORE] == 0).all()


def test_all_keys_of_a_full_vocabulary_are_used() -> None:
    task = task_of("2048:512:2", vocab_size=1026)
    keys = generate(task, "train", 0, 0).inputs[0, :1024:2]
    assert keys.sort().values.tolist() == list(range(1, 513))


def test_the_defaults_are_figure_2_of_based() -> None:
    task = MQAR()
    assert [str(segment) for segment in task.train] == [
        "64:4:100000",
        "128:8:20000",
        "256:16:20000",
        "256:32:20000",
        "256:64:20000",
    ]
    assert [segment.pairs for segment in task.test] == [4, 8, 16, 32, 64, 128, 256]
    assert task.tokens == 8192
    assert task.chance(task.test[0]) == 1 / 4096


def test_segments_parse_from_text_and_survive_serialisation() -> None:
    task = MQAR(train="64:4:1_000, 128:8:20")
    assert task.train == (
        MQARSegment(length=64, pairs=4, examples=1000),
        MQARSegment(length=128, pairs=8, examples=20),
    )
    assert build(tasks, task.model_dump(mode="json")) == task


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": "64:4"}, r"segment '64:4' is not of the form length:pairs:examples"),
        ({"train": "64:four:10"}, r"'64:four:10' is not of the form"),
        ({"train": ""}, r"segment '' is not of the form"),
        ({"train": ()}, r"at least 1 item"),
        ({"test": "15:4:1"}, r"test segment 15:4:1: .*2 \* 4 \* \(1 \+ 1\) = 16 > 15; at most 3"),
        ({"train": "16:3:1", "repeats": 2}, r"2 \* 3 \* \(2 \+ 1\) = 18 > 16; at most 2 pairs"),
        ({"vocab_size": 512}, r"256 > 512 / 2 - 1 = 255; a vocab_size of 514 is enough"),
    ],
)
def test_an_impossible_task_is_refused_with_the_numbers(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        MQAR(**options)
