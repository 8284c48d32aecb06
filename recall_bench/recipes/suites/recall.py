"""Our own set: six reasons to forget, one task each, with equal weights.

A comparison of architectures is sound if it holds across tasks that fail for different reasons.
Each column tests one reason, and a model that cannot deal with it scores low there:

- capacity: `mqar` with up to 128 pairs. A state of fixed size fills up; nothing else is difficult.
- noise: `mad-noisy-recall` with up to four fifths noise. A state that stores all tokens alike
  overflows.
- overwriting: `forgetting-mqar`, in which every key gets a new value. A state that only adds
  answers with a mixture of the old and the new value.
- composition: `compositional-mqar`, whose keys are two tokens that mean nothing alone. A model that
  looks up one of them is right once in several times.
- length: `induction`, trained at 256 tokens and tested up to sixteen times as far. A model
  that succeeds only at the training length has learned positions, not recall.
- copying: `copying`, strings without keys, tested up to four times as long as in training. It
  requires order, and as many bits as a string has.

Other tasks would repeat a reason: needles are recall among noise, n-gram lookup is induction with a
longer key, a phone book is recall with longer values, selective copying is copying among noise.

The first test segments of a column should be easy, the last ones too much for a state of a few
kilobytes. The recipe is that of Figure 2 of Based (learning rates, weight decay, two mixers, no
MLP) with batches of 128 from segments in turn, for 16 epochs. A point takes 24 trainings per seed;
the largest ones see 164 million tokens each.
"""

from typing import Any

from recall_bench.recipes import presets
from recall_bench.recipes.suites.base import Column, Setting, Suite

TRAIN, TEST = 20_000, 1_000
"""Examples per segment."""


def suite() -> Suite:
    """The six columns, with suitable sizes for a first comparison."""
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
    """A task; ``train``, ``test`` and ``validation`` are segments without examples, with blanks."""
    splits = {
        "train": _segments(train, TRAIN),
        "validation": _segments(validation or test, TEST),
        "test": _segments(test, TEST),
    }
    return Column(probes=probes, settings=(Setting(task=task, options={**splits, **options}),))


def _segments(forms: str, examples: int) -> str:
    return ",".join(f"{form}:{examples}" for form in forms.split())
