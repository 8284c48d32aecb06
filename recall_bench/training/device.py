"""The device that a run uses, and the precision of its arithmetic."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch

from recall_bench.config import Precision
from recall_bench.errors import DeviceLost, UserError


def resolve_device(name: str) -> torch.device:
    """The device of this name; "auto" means CUDA where available. Raises `UserError`."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"Unknown device {name!r}. Expected auto, cpu, cuda or cuda:N.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"PyTorch sees no CUDA device. Expected device cpu, got {name!r}.")
    return device


def check_device(name: str, precisions: Iterable[Precision]) -> None:
    """Raises `UserError` where the device is missing or does not support a precision."""
    device = resolve_device(name)
    try:
        torch.ones(2, device=device).sum().item()
    except (RuntimeError, NotImplementedError, AssertionError) as error:
        reason = re.split(r"\n|\. ", str(error))[0]
        raise UserError(
            f"PyTorch cannot compute on device {name!r}: {reason}. "
            f"Expected auto, cpu, cuda or cuda:N."
        ) from error
    for precision in precisions:
        with precision_of(precision, device):
            pass


@contextmanager
def precision_of(precision: Precision, device: torch.device) -> Iterator[None]:
    """Set the precision of matrix products for the block.

    Under bf16, a GPU uses TF32 for the products that mixers keep in float32. Autocast must not
    cache its casts of weights: the block spans all training steps, which change the weights.
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
def device_lost_reported(device: torch.device) -> Iterator[None]:
    """Raise `DeviceLost` for an error in the block that destroyed the CUDA context.

    After some errors, such as an illegal memory access, every later CUDA call fails, in this
    process and in all the processes that share the GPU through MPS; only a new process can go on.
    """
    try:
        yield
    except Exception as error:
        if device.type == "cuda" and not _responds(device):
            raise DeviceLost(f"{type(error).__name__}: {error}") from error
        raise


def _responds(device: torch.device) -> bool:
    try:
        torch.cuda.synchronize(device)
    except RuntimeError:
        return False
    return True
