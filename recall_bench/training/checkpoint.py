"""Checkpoints: what they hold, saving and restoring them."""

import copy
import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from recall_bench.model.backbone import Model
from recall_bench.plugins.registration import one_line
from recall_bench.store.files import explained, write_file
from recall_bench.store.record import CurvePoint
from recall_bench.training.optimizer import AdamW

FORMAT = 3
"""Version of what a checkpoint holds; a run does not continue from another version."""


@dataclass
class Position:
    """The progress of training: counters and times, for the whole run but ``batch``.

    ``batch`` counts the batches of the current epoch; times are in seconds.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    tokens: int = 0
    train_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    data_seconds: float = 0.0
    setup_seconds: float = 0.0
    compile_seconds: float = 0.0
    capture_seconds: float = 0.0
    resumed: int = 0

    @property
    def seconds(self) -> float:
        """All the time that the run has taken."""
        work = self.train_seconds + self.evaluation_seconds + self.data_seconds
        return work + self.setup_seconds + self.compile_seconds + self.capture_seconds


class Restored(NamedTuple):
    """The contents of a checkpoint beside weights, optimiser and random state."""

    position: Position
    curve: list[CurvePoint]
    sums: dict[str, Tensor]
    """The sums of the losses of the current epoch so far (`Steps.sums`)."""


def save(
    file: Path,
    run_id: str,
    model: Model,
    optimizer: AdamW,
    position: Position,
    curve: Sequence[CurvePoint],
    sums: Mapping[str, Tensor],
) -> None:
    """Write a checkpoint, whole or not at all; raises `StoreError` where the disk is full.

    ``sums`` are those of the losses of the current epoch so far (`Steps.sums`).
    """
    device = sums[""].device
    content = {
        "format": FORMAT,
        "run_id": run_id,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "sums": dict(sums),
        "position": asdict(position),
        "curve": [point.model_dump() for point in curve],
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }
    packed = io.BytesIO()
    torch.save(content, packed)
    write_file(file, packed.getvalue())


def restore(file: Path, model: Model, optimizer: AdamW, device: torch.device) -> Restored | None:
    """Load a checkpoint into the model, the optimiser and the random state.

    Returns None where there is no checkpoint. Renames one that cannot be read, does not fit or is
    of another version to ``aside.…``, warns, and returns None; nothing else changes then.
    """
    if not file.exists():
        return None
    before = copy.deepcopy((model.state_dict(), optimizer.state_dict(), torch.get_rng_state()))
    try:
        content = torch.load(file, map_location=device, weights_only=True)
        if content["format"] != FORMAT:
            raise ValueError("it is of another version")
        position = Position(**content["position"])
        curve = [CurvePoint(**point) for point in content["curve"]]
        restored = Restored(position, curve, dict(content["sums"]))
        model.load_state_dict(content["model"])
        optimizer.load_state_dict(content["optimizer"])
        torch.set_rng_state(content["rng"].cpu())
        if content["cuda_rng"] is not None and device.type == "cuda":
            torch.cuda.set_rng_state(content["cuda_rng"].cpu(), device)
    except Exception as error:  # a damaged file makes torch raise errors of many types
        model.load_state_dict(before[0])
        optimizer.load_state_dict(before[1])
        torch.set_rng_state(before[2])
        aside = file.with_name(f"aside.{file.name}")
        with explained(file):
            file.replace(aside)
        warnings.warn(
            f"{file.name} cannot be used ({one_line(error)}). It is now {aside.name}, and the run "
            f"starts again.",
            stacklevel=2,
        )
        return None
    position.resumed += 1
    return restored
