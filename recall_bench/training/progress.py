"""Messages of a run to its caller while it trains; a sweep reads them without importing torch."""

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
