"""Diagnoses this machine: versions, devices, optional packages, and the kernels that can run."""

import importlib.metadata
import importlib.util
import os
import platform

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import recall_bench
from recall_bench.kernels.plumbing import dispatch
from recall_bench.training import environment

OPTIONAL = {
    "triton": "our fast kernels on NVIDIA and AMD GPUs; comes with PyTorch's CUDA builds",
    "mamba_ssm": "another selective scan on CUDA; built from source",
    "flash_attn": "another attention on CUDA; built from source",
    "fla": "flash-linear-attention, for comparing kernel speeds",
}


def diagnose(console: Console) -> None:
    """Print everything that decides which kernels run here, and how fast."""
    table = Table("component", "here", title=f"recall-bench {recall_bench.__version__}")
    table.add_row("Python", f"{platform.python_version()} on {platform.platform()}")
    for name, version in environment.package_versions().items():
        table.add_row(name, version)
    git = environment.git_state()
    if git:
        table.add_row("git", f"{git['commit'][:12]}{' with local changes' if git['dirty'] else ''}")
    table.add_row("processor", f"{environment.processor_name()}, {os.cpu_count()} logical cores")
    table.add_row("CUDA", _cuda())
    console.print(table)

    table = Table("package", "usable", "purpose", title="Optional packages")
    for name, purpose in OPTIONAL.items():
        table.add_row(name, _package(name), purpose)
    console.print(table)

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    table = Table("operation", "runs on", "unavailable", title=f"Kernels on {device.type}")
    for op in dispatch.operations():
        table.add_row(op, *_backends(op, torch.empty(0, device=device)))
    console.print(table)


def _backends(op: str, tensor: torch.Tensor) -> tuple[str, str]:
    """The backends that can run ``op`` on such tensors, and why the others cannot."""
    reasons = {name: dispatch.why_not(op, name, tensor) for name in dispatch.BACKENDS}
    able = [name for name, reason in reasons.items() if reason is None]
    unable = [
        escape(f"{name}: {reason}")
        for name, reason in reasons.items()
        if reason not in (None, dispatch.NOT_WRITTEN)
    ]
    return ", ".join(able), "\n".join(unable)


def _cuda() -> str:
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return f"{', '.join(names)} (CUDA {torch.version.cuda})"
    if torch.version.cuda is None:
        return "no: this PyTorch build is for the CPU"
    return f"no: PyTorch was built for CUDA {torch.version.cuda}, but sees no GPU"


def _package(name: str) -> str:
    if importlib.util.find_spec(name) is None:
        return "no: not installed"
    try:
        module = importlib.import_module(name)
    except Exception as error:
        return f"no: {type(error).__name__}: {error}"
    return f"yes, {getattr(module, '__version__', 'version unknown')}"
