"""Runs several processes on one GPU at a time, through NVIDIA's multi-process service (MPS).

Without MPS a GPU switches between processes and never runs the kernels of two processes side by
side. Small models leave most of a GPU idle, so sharing it speeds up a sweep.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CONTROL = "nvidia-cuda-mps-control"
PROBE = """
import ctypes, sys
cuda, context = ctypes.CDLL("libcuda.so.1"), ctypes.c_void_p()
sys.exit(cuda.cuInit(0) or cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0))
"""
"""Creates a context on the first GPU through the daemon, as a worker process does."""

RUNS_PER_GPU = 4
"""Eight gain little over four: see results/training."""


def can_share() -> bool:
    """Whether MPS is installed here."""
    return shutil.which(CONTROL) is not None


@contextlib.contextmanager
def shared_gpu() -> Iterator[dict[str, str]]:
    """Run our own MPS daemon during the block; yields the environment variables that select it.

    If the user already runs a daemon, processes use that one and it keeps running. If no daemon
    starts, or processes cannot reach the GPU through it, the block runs without one.
    """
    if "CUDA_MPS_PIPE_DIRECTORY" in os.environ or Path("/tmp/nvidia-mps/control").exists():
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="recall-bench-mps-") as folder:
        variables = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        started = _succeeds(_control, ["-d"], variables)
        variables |= _renumbered()
        usable = started and _succeeds(_probe, variables)
        if started and not usable:
            _succeeds(_control, [], variables, "quit\n")
        try:
            yield variables if usable else {}
        finally:
            if usable:
                _succeeds(_control, [], variables, "quit\n")


def _renumbered() -> dict[str, str]:
    """The GPU numbers for the daemon's clients: it renumbers its visible GPUs from 0."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return {}
    return {"CUDA_VISIBLE_DEVICES": ",".join(str(i) for i in range(len(visible.split(","))))}


def _succeeds(action: Callable[..., None], *arguments: Any) -> bool:
    try:
        action(*arguments)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def _probe(variables: dict[str, str]) -> None:
    """Raise `OSError` or `SubprocessError` if processes cannot reach the GPU via the daemon."""
    subprocess.run(
        [sys.executable, "-c", PROBE],
        env=os.environ | variables,
        capture_output=True,
        timeout=60,
        check=True,
    )


def _control(flags: list[str], variables: dict[str, str], text: str = "") -> None:
    subprocess.run(
        [CONTROL, *flags],
        env=os.environ | variables,
        input=text,
        text=True,
        capture_output=True,
        timeout=30,
        check=True,
    )
