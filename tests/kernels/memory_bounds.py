"""Makes Triton's interpreter report a kernel's accesses outside its tensors.

On a GPU such an access mostly goes unnoticed: the memory beyond a tensor belongs to another one.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from torch import Tensor
from triton.runtime import interpreter
from triton.tools.tensor_descriptor import TensorDescriptor


class OutOfBounds(AssertionError):
    """A kernel accessed memory outside the storages of its tensors."""


@contextmanager
def checked_memory() -> Iterator[None]:
    """Kernels raise `OutOfBounds` (in an `InterpreterError`) at an access outside their tensors."""
    spans = np.empty((0, 2), dtype=np.uint64)
    builder = interpreter.interpreter_builder
    patch = pytest.MonkeyPatch()

    def given(self: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        nonlocal spans
        args, kwargs = host_arguments(self, args, kwargs)
        spans = np.array(sorted(_spans([*args, *kwargs.values()])), dtype=np.uint64).reshape(-1, 2)
        return args, kwargs

    def check(kind: str, pointers: Any, mask: Any) -> None:
        size = np.uint64(pointers.get_element_ty().primitive_bitwidth // 8)
        addresses = np.broadcast_to(pointers.data, mask.data.shape)[mask.data].astype(np.uint64)
        if not addresses.size:
            return
        last = np.searchsorted(spans[:, 0], addresses, side="right") - 1
        inside = (last >= 0) & (addresses + size <= spans[last, 1])
        if not inside.all():
            wrong, span = addresses[~inside][0], spans[max(last[~inside][0], 0)]
            raise OutOfBounds(
                f"program {builder.grid_idx} {kind} {int(wrong) - int(span[0])} bytes into a "
                f"tensor of {int(span[1] - span[0])}, at {int((~inside).sum())} elements"
            )

    def before(name: str, kind: str, pointers_at: int, mask_at: int) -> None:
        original: Callable[..., Any] = getattr(builder, name)

        def access(*args: Any, **kwargs: Any) -> Any:
            check(kind, args[pointers_at], args[mask_at])
            return original(*args, **kwargs)

        patch.setattr(builder, name, access)

    host_arguments = interpreter.GridExecutor._init_args_hst
    patch.setattr(interpreter.GridExecutor, "_init_args_hst", given)
    before("create_masked_load", "reads", 0, 1)
    before("create_masked_store", "writes", 0, 2)
    before("create_atomic_rmw", "updates", 1, 3)
    try:
        yield
    finally:
        patch.undo()


def _spans(arguments: Sequence[Any]) -> Iterator[tuple[int, int]]:
    """First address and end of the storage of every tensor among the arguments."""
    for argument in arguments:
        if isinstance(argument, tuple | list):
            yield from _spans(argument)
        elif isinstance(argument, TensorDescriptor):
            yield from _spans([argument.base])
        elif isinstance(argument, Tensor):
            storage = argument.untyped_storage()
            if storage.nbytes():
                yield storage.data_ptr(), storage.data_ptr() + storage.nbytes()
