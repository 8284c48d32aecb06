"""Several processes on one GPU at a time, by NVIDIA's multi-process service (MPS).

Without it a GPU switches between processes and never runs the kernels of two of them side by side.
Small models leave most of a GPU idle, so that sharing it raises what a sweep gets done.
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
"""Makes a context on the first GPU as a process would, through the daemon."""

RUNS_PER_GPU = 4
"""Eight gain hardly more than four: see results/training."""


def can_share() -> bool:
    """Whether MPS is installed here."""
    return shutil.which(CONTROL) is not None


@contextlib.contextmanager
def shared_gpu() -> Iterator[dict[str, str]]:
    """An MPS daemon of our own for as long as a block lasts; yields the variables that lead to it.

    Where the user runs a daemon already, that one is used and left alone. Where none can be
    started, or no process gets through to the GPU by it, the block goes on without.
    """
    if "CUDA_MPS_PIPE_DIRECTORY" in os.environ or Path("/tmp/nvidia-mps/control").exists():
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="recall-bench-mps-") as place:
        variables = {"CUDA_MPS_PIPE_DIRECTORY": place, "CUDA_MPS_LOG_DIRECTORY": place}
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
    """What processes of a daemon call the GPUs that it was shown: it counts them from 0."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    if shown is None:
        return {}
    return {"CUDA_VISIBLE_DEVICES": ",".join(str(i) for i in range(len(shown.split(","))))}


def _succeeds(action: Callable[..., None], *arguments: Any) -> bool:
    try:
        action(*arguments)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def _probe(variables: dict[str, str]) -> None:
    """Raises `OSError` or `SubprocessError` where the daemon lets no process at the GPU."""
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
