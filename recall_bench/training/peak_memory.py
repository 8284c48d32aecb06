"""Peak memory of a computation."""

import re
from pathlib import Path

import torch


class PeakMemory:
    """Peak bytes from construction on: of the device on CUDA, resident in this process on Linux."""

    def __init__(self, device: torch.device):
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        elif Path("/proc/self/clear_refs").exists():
            Path("/proc/self/clear_refs").write_text("5")

    def read(self) -> int | None:
        """Peak bytes, or None where the system does not tell."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        status = Path("/proc/self/status")
        match = status.exists() and re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        return int(match.group(1)) * 1024 if match else None
