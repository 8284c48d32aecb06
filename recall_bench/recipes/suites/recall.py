"""Our own set: six reasons to forget, one task each, all with the same weight.

A comparison of architectures holds when it holds across tasks that fail for different reasons. Each
column has one reason, and a model that is blind to it stays near the bottom of that column:

- capacity: `mqar` with up to 128 pairs. A state of fixed size fills up; nothing else is hard here.
- noise: `mad-noisy-recall` with up to four fifths noise. A state that takes in all tokens alike
  drowns.
- overwriting: `forgetting-mqar`, in which every key gets a new value. A state that only adds
  answers with a mixture of the old value and the new.
- composition: `compositional-mqar`, whose keys are two tokens that mean nothing alone. Who looks up
  one part is right once in several times.
- length: `induction`, trained at 256 tokens and tested up to sixteen times as far. What holds at
  the training length and breaks beyond it was position, and not recall.
- copying: `copying`, strings without keys to find them by, tested up to four times as long as in
  training. It asks for order, and for as many bits as a string has.

What is left out repeats a reason: needles are recall among noise, n-gram lookup is induction with a
longer key, a phone book is recall with longer values, selective copying is copying among noise.

The first test segments of a column are meant to be easy, the last ones to be beyond a state of a
few kilobytes. The recipe is that of Figure 2 of Based (learning rates, weight decay, two mixers, no
MLP) with batches of 128 from segments in turn, for 16 epochs. A point is 24 trainings a seed; the
largest ones see 164 million tokens each.
"""

from typing import Any

from recall_bench.recipes import presets
from recall_bench.recipes.suites.base import Column, Setting, Suite

TRAIN, TEST = 20_000, 1_000
"""Examples a segment."""


def suite() -> Suite:
    """The six columns, and the sizes that we would compare at first."""
    figure2 = presets.get("figure2")
    return Suite(
        name="recall",
        description="six reasons to forget, accuracy by task",
        columns={
            "mqar": _column(
                "capacity",
                "mqar",
                train="64:4 64:16 128:32 256:64",
                test="64:4 64:16 128:32 256:64 512:128",
                vocab_size=2048,
            ),
            "mad-noisy-recall": _column(
                "noise",
                "mad-noisy-recall",
                train="128:0.2 256:0.6",
                test="128:0.2 128:0.8 256:0.6 512:0.8",
                vocab_size=80,
            ),
            "forgetting-mqar": _column(
                "overwriting",
                "forgetting-mqar",
                train="64:4:4 64:8:8 128:16:16 256:32:32",
                test="64:4:4 64:8:8 128:16:16 256:32:32",
                vocab_size=2048,
            ),
            "compositional-mqar": _column(
                "composition",
                "compositional-mqar",
                train="64:4 64:9 128:16 256:36",
                test="64:4 64:9 128:16 256:36",
                vocab_size=2048,
            ),
            "induction": _column(
                "length",
                "induction",
                train="256",
                test="256 512 1024 2048 4096",
                validation="256",
            ),
            "copying": _column(
                "copying",
                "copying",
                train="101:8",
                test="41:20 101:50 201:100 401:200",
                validation="101:8",
            ),
        },
        training={"epochs": 16, "batch_size": 128, "order": "interleaved"},
        learning_rates=figure2.learning_rates,
        shared={"d_model": 64},
    )


def _column(
    probes: str, task: str, *, train: str, test: str, validation: str = "", **options: Any
) -> Column:
    """A task with segments said without their examples, between blanks."""
    splits = {
        "train": _segments(train, TRAIN),
        "validation": _segments(validation or test, TEST),
        "test": _segments(test, TEST),
    }
    return Column(probes=probes, settings=(Setting(task=task, options={**splits, **options}),))


def _segments(forms: str, examples: int) -> str:
    return ",".join(f"{form}:{examples}" for form in forms.split())
