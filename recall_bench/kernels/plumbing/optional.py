"""Imports of optional packages with kernels of their own, and reasons why they cannot run."""

import importlib
import importlib.util
from types import ModuleType

import torch
from torch import Tensor


def import_optional(module: str, extra: str) -> ModuleType:
    """Import ``module``; an `ImportError` says whether it is missing or broken, and the extra.

    Packages with compiled kernels fail in many ways, such as a shared library built for another
    PyTorch. Any exception from their import becomes the reason.
    """
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        raise ImportError(f"{extra} is not installed; the extra recall-bench[{extra}] has it")
    try:
        return importlib.import_module(module)
    except Exception as error:
        raise ImportError(f"{extra} is installed but broken: {error}") from error


def unavailable_for(tensor: Tensor, dtypes: tuple[torch.dtype, ...]) -> str | None:
    """The reason no CUDA kernel for ``dtypes`` runs on tensors like this one, or None."""
    if tensor.device.type != "cuda":
        return f"it needs a CUDA tensor, not one on {tensor.device.type}"
    if tensor.dtype not in dtypes:
        names = ", ".join(str(dtype).split(".")[-1] for dtype in dtypes)
        return f"it takes {names}, not {str(tensor.dtype).split('.')[-1]}"
    return None
