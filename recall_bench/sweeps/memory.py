"""Counts memory, so that impossible sizes are refused before anything is stored."""

import os
from collections.abc import Iterable
from typing import Any


def room(device: str) -> int | None:
    """Bytes of memory of a device that a run may use at most; None if unknown."""
    if device.startswith("cuda") or (device == "auto" and _has_gpu()):
        import torch

        return int(torch.cuda.get_device_properties(device if ":" in device else 0).total_memory)
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):  # not on every system
        return None


def count_weights(mixers: Iterable[Any]) -> int:
    """Trained numbers in some layers; none in what is no module."""
    modules = [mixer for mixer in mixers if hasattr(mixer, "parameters")]
    return sum(weights.numel() for module in modules for weights in module.parameters())


def count_tokens(segments: Iterable[Any]) -> int:
    """Tokens in the examples of some segments."""
    return sum(
        getattr(segment, "examples", 0) * getattr(segment, "length", 0) for segment in segments
    )


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
