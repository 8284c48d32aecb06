"""Where a run computes, and in which arithmetic."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch

from recall_bench.config import Precision
from recall_bench.errors import DeviceLost, UserError


def resolve_device(name: str) -> torch.device:
    """The device of a name; "auto" takes CUDA where there is one. Raises `UserError`."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"Unknown device {name!r}. Expected auto, cpu, cuda or cuda:N.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"Device {name!r} was asked for, but PyTorch sees no CUDA device. Use cpu.")
    return device


def check_device(name: str, precisions: Iterable[Precision]) -> None:
    """Raises `UserError` where the device is not there or has no such arithmetic."""
    device = resolve_device(name)
    for precision in precisions:
        with precision_of(precision, device):
            pass


@contextmanager
def precision_of(precision: Precision, device: torch.device) -> Iterator[None]:
    """Set the arithmetic of matrix products for the block.

    Under bf16 a GPU takes TF32 for what mixers keep in float32. Casts of weights are not cached: a
    cache lives as long as the block, over all training steps.
    """
    if precision == "tf32" and device.type != "cuda":
        raise UserError(f"precision=tf32 needs a CUDA device, got {device.type}. Use fp32 or bf16.")
    before = torch.get_float32_matmul_precision()
    fast = device.type == "cuda" and precision != "fp32"
    torch.set_float32_matmul_precision("high" if fast else "highest")
    try:
        with torch.autocast(
            device.type, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def lost_device_told(device: torch.device) -> Iterator[None]:
    """Raises `DeviceLost` for an error in the block after which the GPU answers no more.

    After some errors, such as an access to memory that is not mapped, every later call fails in
    the process, and in all the processes that share the GPU with it.
    """
    try:
        yield
    except Exception as error:
        if device.type == "cuda" and not _answers(device):
            raise DeviceLost(f"{type(error).__name__}: {error}") from error
        raise


def _answers(device: torch.device) -> bool:
    try:
        torch.cuda.synchronize(device)
    except RuntimeError:
        return False
    return True
