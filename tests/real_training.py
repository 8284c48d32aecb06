"""The real trainer on runs of a few seconds, with checkpoints often enough to be interrupted."""

from recall_bench.config import RunConfig
from recall_bench.recipes import presets
from recall_bench.training import loop as training
from recall_bench.training.loop import Interrupted, train

__all__ = ["Interrupted", "runs", "train"]

training.CHECKPOINT_SECONDS = 0.2
training.HEARTBEAT_SECONDS = 0.05


def runs() -> list[RunConfig]:
    smoke = presets.get("smoke")
    return [
        RunConfig(
            task={"name": "mqar", **smoke.tasks["mqar"]},
            architecture={"name": name, "d_model": 16},
            training={**smoke.training, "epochs": 120, "learning_rate": 1e-2},
            seed=seed,
        )
        for seed in range(3)
        for name in ("attention", "taylor-attention")
    ]
