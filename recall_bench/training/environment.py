"""The environment that a run really had: versions, source, hardware, kernels."""

import hashlib
import importlib.metadata
import inspect
import os
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import torch

import recall_bench
from recall_bench.config import RunConfig
from recall_bench.kernels.plumbing import dispatch

PACKAGES = (
    "torch",
    "triton",
    "numpy",
    "pydantic",
    "mamba-ssm",
    "flash-attn",
    "flash-linear-attention",
)


def describe(config: RunConfig, device: torch.device) -> dict[str, Any]:
    """The environment of a run, for its record."""
    sources = {
        "task": source_hash(type(config.task)),
        "architecture": source_hash(type(config.architecture)),
    }
    return {**describe_host(device), "sources": sources}


def describe_host(device: torch.device) -> dict[str, Any]:
    """Versions, hardware and kernels of any computation in this process."""
    return {
        "recall_bench": recall_bench.__version__,
        "git": git_state(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": package_versions(),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "kernels": dispatch.used(),
    }


@cache
def package_versions() -> dict[str, str]:
    """Installed versions of the packages that can change a number."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


@cache
def git_state() -> dict[str, Any] | None:
    """Commit of the checkout this package runs from, and whether it has local changes."""
    here = Path(recall_bench.__file__).parent
    if not (here.parent / ".git").exists():
        return None

    def git(*words: str) -> str:
        command = ["git", "-C", str(here.parent), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return {
            "commit": git("rev-parse", "HEAD"),
            "dirty": bool(git("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.CalledProcessError):
        return None


def source_hash(cls: type) -> str | None:
    """SHA-256, 16 digits, of the file a task or architecture is defined in."""
    file = inspect.getsourcefile(cls)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16] if file else None


def device_name(device: torch.device) -> str:
    """The model of the GPU or processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor_name()} ({os.cpu_count()} logical cores)"


@cache
def processor_name() -> str:
    """The processor's model name, as the system reports it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
