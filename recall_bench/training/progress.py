"""What a run tells its caller while it trains; free of torch, so that a sweep can read it."""

from dataclasses import dataclass


class Interrupted(Exception):
    """Training was asked to stop; its checkpoint is written and the next call continues."""


@dataclass(frozen=True)
class Progress:
    """How far a run has come."""

    run_id: str
    epoch: int
    epochs: int
    step: int
    steps: int
    validation_accuracy: float | None
    seconds: float
