"""One run: from its configuration to its record."""

from recall_bench.training.loop import Interrupted, Progress, train

__all__ = ["Interrupted", "Progress", "train"]
