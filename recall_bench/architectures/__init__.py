"""One mixer or recipe a file; the contract is in `recall_bench.architectures.base`."""

from recall_bench.architectures.base import Architecture, Mixer, State

__all__ = ["Architecture", "Mixer", "State"]
