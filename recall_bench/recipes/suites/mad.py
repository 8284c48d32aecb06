"""MAD's six tasks with its baseline and its one-at-a-time changes (2403.17844).

The score of a task is the mean over the baseline and every change, each at the best of three
learning rates and two weight decays: 66 settings, 396 trainings per architecture.

Taken from the paper and from the layer configurations of its released code (mad-lab):

- four layers of width 128: mixer, SwiGLU, mixer, SwiGLU, each behind an RMSNorm. Their SwiGLU is
  352 wide, 8/3 of the width rounded up to a multiple of 16, hence our MLP ratio of 2.75;
- attention with 16 heads and rotary embeddings, Mamba with a state of 4, RWKV-5 with heads of 16
  (its time mixing, followed by the SwiGLU like all others);
- H3 and Based are not in the released code. H3 has Mamba's state of 4 per channel and no heads;
  Based is its linear attention in both mixer layers, feature dimension 16, with neither window nor
  short convolution;
- no embedding dropout, cosine schedule per epoch, 200 epochs with batches of 128. Training ends
  early at an accuracy of 0.999, on validation data here and on the test set there.

Our backbone ties the head to the embedding and draws linear maps from Normal(0, 0.02); theirs does
neither. They train in bf16; we train in fp32 unless ``--precision bf16`` is given.
`recall_bench.tasks.mad.setup` lists differences in data, loss and score.

The published scores are the percentages of MAD's table, and for newer models those of later papers.
Independent re-runs disagree strongly with them, most of all on fuzzy recall.
"""

from typing import Any

from recall_bench.recipes.suites.base import Column, Setting, Suite
from recall_bench.tasks.mad import (
    compression,
    fuzzy_recall,
    memorization,
    recall,
    selective_copying,
    setup,
)

Changes = tuple[dict[str, Any], ...]

COLUMNS: dict[str, tuple[str, Changes]] = {
    "mad-compression": ("the state must hold the whole sequence", compression.MAD_CHANGES),
    "mad-fuzzy-recall": ("keys and values of several tokens", fuzzy_recall.MAD_CHANGES),
    "mad-in-context-recall": ("capacity: pairs to be found again", recall.MAD_CHANGES),
    "mad-memorization": ("facts held in the weights", memorization.MAD_CHANGES),
    "mad-noisy-recall": ("noise that must not be stored", recall.MAD_NOISY_CHANGES),
    "mad-selective-copying": ("order kept over gaps", selective_copying.MAD_CHANGES),
}
"""The columns in the order of the published table: what each probes, and its changes."""

PUBLISHED = {
    "Transformer": (51.6, 29.8, 94.1, 85.2, 86.8, 99.6),
    "Hyena": (45.2, 7.9, 81.7, 89.5, 78.8, 93.1),
    "Mamba": (52.7, 6.7, 90.4, 89.5, 90.1, 86.3),
    "GLA": (38.8, 6.9, 80.8, 63.3, 81.6, 88.6),
    "DeltaNet": (42.2, 35.7, 100.0, 52.8, 100.0, 100.0),
}


def suite() -> Suite:
    """MAD as published."""
    return Suite(
        name="mad",
        description="MAD (2403.17844): mean over baseline and changes",
        columns={
            name: Column(
                probes=probes,
                settings=(
                    Setting(task=name),
                    *(Setting.changed(name, {}, change) for change in changes),
                ),
            )
            for name, (probes, changes) in COLUMNS.items()
        },
        training=setup.TRAINING,
        model={**setup.MODEL, "mlp_ratio": 2.75, "norm": "rmsnorm"},
        learning_rates=list(setup.LEARNING_RATES),
        weight_decays=list(setup.WEIGHT_DECAYS),
        shared={"d_model": setup.WIDTH, "layers": "+".join(["self"] * setup.MIXERS)},
        published={
            model: {name: score / 100 for name, score in zip(COLUMNS, scores, strict=True)}
            for model, scores in PUBLISHED.items()
        },
    )
