"""Shared by MAD's six tasks: sizes, the recipe, and one-at-a-time changes (2403.17844).

MAD scores an architecture on a task by the mean over the task's baseline and its changes, each at
the best of `LEARNING_RATES` x `WEIGHT_DECAYS`. Each task's module lists its changes as options of
the task in ``MAD_CHANGES``; all other options keep the baseline's values, the task's defaults.

Where we depart from the paper's released code, for all six tasks:

- it takes the best run by its test score; we add a validation split of the same size, with the
  test's distribution, and choose on that;
- it trains the three recall tasks on the next token at every position, answers or not, and scores
  the answers alone; here the loss is taken where the score is;
- its accuracy is the mean over the classes of labels (its metric library's default); here it is the
  mean over an example's labels, which is the same up to chance where labels are uniform.

MAD counts channel mixers as layers: its 4 layers are two sequence mixers, each followed by an MLP.
"""

from collections.abc import Iterable
from typing import Any

TRAIN_EXAMPLES, TEST_EXAMPLES = 12_800, 1_280
FEWER_EXAMPLES = (6400, 3200, 1600, 800)
"""Training sets of the changes."""

MIXERS, WIDTH = 2, 128
"""Sequence mixers (4 layers with their MLPs), and width of the model."""
TRAINING: dict[str, Any] = {"epochs": 200, "batch_size": 128, "early_stop": 0.999}
"""Options of the recipe: AdamW, cosine; its released code stops at an accuracy of 0.999."""
MODEL: dict[str, Any] = {"embedding_dropout": 0.0}
LEARNING_RATES = (1e-4, 5e-4, 1e-3)
WEIGHT_DECAYS = (0.0, 0.1)


def splits(
    form: str, test_form: str = "", *, train: int = TRAIN_EXAMPLES, test: int = TEST_EXAMPLES
) -> dict[str, str]:
    """The three splits as text, ``form`` being a segment without its examples: "128" or "256:16".

    Validation and test take ``test_form`` where it is given.
    """
    held_out = f"{test_form or form}:{test}"
    return {"train": f"{form}:{train}", "validation": held_out, "test": held_out}


def fewer(form: str) -> tuple[dict[str, Any], ...]:
    """The changes that take fewer training examples."""
    return tuple({"train": f"{form}:{count}"} for count in FEWER_EXAMPLES)


def vocabularies(sizes: Iterable[int]) -> tuple[dict[str, Any], ...]:
    """The changes that take other vocabularies."""
    return tuple({"vocab_size": size} for size in sizes)
