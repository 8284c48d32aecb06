"""Counts the GPUs that a sweep may use, without importing torch if there is certainly none."""

import os
import sys
from pathlib import Path

DRIVERS = ("nvidia*", "nvhost*", "dxg", "kfd")
"""Files in /dev that GPU drivers create: NVIDIA's, those of Tegra and WSL, and AMD's."""


def count_gpus(device: str) -> int:
    """The number of GPUs that a device names; "auto" and "cuda" mean all that PyTorch sees."""
    if device == "cpu" or (device == "auto" and not _driver_present()):
        return 0
    import torch

    return min(torch.cuda.device_count(), 1 if ":" in device else sys.maxsize)


def _driver_present() -> bool:
    """False only if PyTorch certainly sees no GPU."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1") or sys.platform == "darwin":
        return False
    if not sys.platform.startswith("linux"):
        return True
    return any(next(Path("/dev").glob(name), None) for name in DRIVERS)
