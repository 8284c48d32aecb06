"""Checks and launches that all Triton implementations share."""

import functools
import os
from collections.abc import Callable
from typing import Any

import torch
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from recall_bench.kernels.plumbing import compilation

compilation.listen()

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def interpreted() -> bool:
    """Whether Triton interprets kernels on the CPU, as tests do."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def unavailable_for(tensor: Tensor) -> str | None:
    """The reason no Triton kernel runs on tensors like this one, or None."""
    if tensor.device.type != "cuda" and not interpreted():
        return f"it needs a CUDA tensor, not one on {tensor.device.type}"
    if tensor.dtype not in DTYPES:
        return f"it takes float32, bfloat16 and float16, not {str(tensor.dtype).split('.')[-1]}"
    return None


def rows_contiguous(x: Tensor) -> Tensor:
    """x itself if its last dimension is contiguous, as the kernels assume, else a copy."""
    return x if x.stride(-1) == 1 or x.shape[-1] <= 1 else x.contiguous()


def as_rows(x: Tensor) -> Tensor:
    """(…, D) -> (M, D), each row contiguous."""
    return rows_contiguous(x.reshape(-1, x.shape[-1]))


def dot_constants(dtype: torch.dtype) -> dict[str, Any]:
    """DTYPE and PRECISION of the matrix products on inputs of ``dtype``.

    float32 takes three TF32 products, which keep its accuracy, or a single one if
    `torch.set_float32_matmul_precision` allows it. float16 takes TF32 products, which hold its 11
    bits exactly and, unlike float16, cannot overflow. Triton's interpreter has no bfloat16.
    """
    if dtype == torch.bfloat16 and not interpreted():
        return {"DTYPE": tl.bfloat16, "PRECISION": "tf32"}
    exact = dtype == torch.float32 and torch.get_float32_matmul_precision() == "highest"
    return {"DTYPE": tl.float32, "PRECISION": "tf32x3" if exact else "tf32"}


def on_own_device(launch: Callable[..., Any]) -> Callable[..., Any]:
    """Make ``launch`` run on the GPU of its first argument, a tensor.

    Triton launches on the current device. Autograd sets it for backward passes by itself.
    """

    @functools.wraps(launch)
    def call(first: Tensor, *others: Any) -> Any:
        if not first.is_cuda or first.get_device() == torch.cuda.current_device():
            return launch(first, *others)
        with torch.cuda.device(first.device):
            return launch(first, *others)

    return call


class Launches:
    """Launches kernels whose sizes and constants never change, as those of one plan.

    Triton looks up a compiled kernel by all its arguments at each call, which takes the host
    longer than a short kernel runs. This class looks it up once for each kernel and set of flags.
    """

    def __init__(self) -> None:
        self._prepared: dict[tuple[Any, ...], tuple[Callable[..., Any], tuple[Any, ...]]] = {}

    def __call__(
        self,
        kernel: Any,
        grid: tuple[int, ...],
        tensors: tuple[Tensor, ...],
        sizes: tuple[int, ...],
        constants: dict[str, Any],
        **flags: bool,
    ) -> None:
        """``kernel[grid](*tensors, *sizes, **constants, **flags)``.

        ``kernel`` and ``flags`` identify the launch: within one object they determine everything
        except the tensors' addresses.
        """
        addresses = 0
        for x in tensors:
            addresses |= x.data_ptr()
        key = id(kernel), *flags.values()
        prepared = self._prepared.get(key) if addresses % 16 == 0 else None
        if prepared is not None:
            run, rest = prepared
            run(*tensors, *rest)
            return
        constants = {**constants, **flags}
        compiled = kernel[grid](*tensors, *sizes, **constants)
        if compiled is not None and addresses % 16 == 0:
            names = kernel.arg_names[len(tensors) + len(sizes) :]
            rest = (*sizes, *(constants[name] for name in names))
            self._prepared[key] = compiled[(*grid, 1, 1)[:3]], rest


def needs_gradient(*tensors: Tensor | None) -> bool:
    """Whether autograd needs a gradient of any of the tensors."""
    return torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors)


def differentiable(
    op: Callable[..., Any],
    forward: Callable[..., Any],
    save: Callable[[Any, tuple[Any, ...], Any], None],
    backward: Callable[..., tuple[Any, ...]],
) -> Callable[..., Any]:
    """A function that calls ``op`` under torch.compile, and elsewhere an autograd function.

    A custom operator costs the host several times as much as an autograd function, which is
    noticeable for kernels this short. ``backward`` may return None for an unneeded gradient.
    """
    forward = on_own_device(forward)

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> Any:
            ctx.set_materialize_grads(False)
            outputs = forward(*inputs)
            save(ctx, inputs, outputs)
            return outputs

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
            return backward(ctx, *gradients)

    def call(*inputs: Any) -> Any:
        if torch.compiler.is_compiling():
            return op(*inputs)
        return Function.apply(*inputs) if torch.is_grad_enabled() else forward(*inputs)

    return call
