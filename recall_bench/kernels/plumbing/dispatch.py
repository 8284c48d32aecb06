"""Choice of an operation's implementation, and a record of the choices.

The operation ``<op>`` lives in the folder ``kernels/<op>/``; each backend is a module there that
defines functions of the operation's names and signatures: ``reference.py`` always, ``triton.py``
if someone wrote one, ``mamba_ssm.py`` and ``flash_attn.py`` if those packages have the operation.
Modules are imported on first use. A backend may also define ``unavailable(op, tensor) -> str |
None``, the reason why it cannot run ``op`` on such a tensor, and ``<op>_step``, a quicker form for
a single token (see `recall_bench.kernels.plumbing.operator`).
"""

import functools
import importlib
import importlib.util
import inspect
import os
import pkgutil
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, Literal, TypeAlias, TypeVar

from torch import Tensor

from recall_bench import kernels
from recall_bench.errors import UserError, nearest

Backend: TypeAlias = Literal["auto", "reference", "triton", "mamba-ssm", "flash-attn"]

BACKENDS = ("triton", "mamba-ssm", "flash-attn", "reference")
"""Preferred first: "auto" takes the first available on CUDA tensors, elsewhere the reference.

Ours come before other packages': they were faster wherever both were timed on an H200.
"""

NOT_WRITTEN = "nobody has written it"
NO_STATE = "it starts from the first token and takes no initial state"

VARIABLE = "RECALL_BENCH_KERNELS"
"""The environment variable that replaces "auto" by a backend, in the operations that have it;
the others ignore it."""

Function = TypeVar("Function", bound=Callable[..., Any])

_used: dict[str, set[str]] = {}
_problems: dict[str, str | None] = {}


def resolve(
    op: str, backend: str, tensor: Tensor, *, stateful: bool = False, single: bool = False
) -> str:
    """Choose the backend that runs ``op`` on tensors like ``tensor``, and record it for `used`.

    With ``stateful`` the backend must accept an initial state; with ``single`` too, its step
    function is enough. Raises `UserError` if the requested backend does not exist or cannot run.
    Meta tensors have no values: they take the reference, and nothing is recorded.
    """
    if tensor.device.type == "meta":
        return "reference"
    chosen, source = backend, "kernel backend"
    if backend == "auto" and VARIABLE in os.environ:
        chosen, source = os.environ[VARIABLE], f"kernel backend in {VARIABLE}"
    if chosen not in (*BACKENDS, "auto"):
        raise UserError(f"Unknown {source} '{chosen}'. {nearest(chosen, BACKENDS)}")
    needs = {"stateful": stateful, "single": single}
    reason = None if chosen == "auto" else why_not(op, chosen, tensor, **needs)
    if backend == "auto" and reason in (NOT_WRITTEN, NO_STATE):
        chosen, reason = "auto", None
    if reason:
        available = [n for n in BACKENDS if not why_not(op, n, tensor, **needs)]
        raise UserError(
            f"The {source} '{chosen}' cannot run {op}: {reason}. "
            f"Available here: {', '.join(available)}."
        )
    if chosen == "auto":
        on_gpu = tensor.device.type == "cuda"
        chosen = _first_available(op, tensor, **needs) if on_gpu else "reference"
    _used.setdefault(op, set()).add(chosen)
    return chosen


def implementation(
    op: str, backend: str, tensor: Tensor, function: str | None = None
) -> Callable[..., Any]:
    """The function ``op``, or ``function`` if given, of the backend that `resolve` chooses."""
    run: Callable[..., Any] = getattr(
        backend_module(op, resolve(op, backend, tensor)), function or op
    )
    return run


def backend_module(op: str, backend: str) -> ModuleType:
    """The module of a backend that `resolve` chose."""
    name = _module(op, backend)
    _import_problem(name)
    return sys.modules[name]


def why_not(
    op: str, backend: str, tensor: Tensor, *, stateful: bool = False, single: bool = False
) -> str | None:
    """The reason ``backend`` cannot run ``op`` on tensors like ``tensor``, or None."""
    name = _module(op, backend)
    if problem := _import_problem(name):
        return problem
    module = sys.modules[name]
    if not hasattr(module, op):
        return NOT_WRITTEN
    if stateful and "initial_state" not in parameters(form(module, op, step=single)):
        return NO_STATE
    return module.unavailable(op, tensor) if hasattr(module, "unavailable") else None


def form(module: ModuleType, op: str, *, step: bool) -> Callable[..., Any]:
    """The function ``op`` of a backend's module, or for a step its ``<op>_step`` if it has one."""
    function: Callable[..., Any] | None = getattr(module, f"{op}_step", None) if step else None
    if function is None:
        function = getattr(module, op)
    return function


def operations() -> list[str]:
    """The names of all operations, which are the folders beside `plumbing`."""
    folders = {module.name for module in pkgutil.iter_modules(kernels.__path__) if module.ispkg}
    return sorted(folders - {"plumbing"})


def used() -> dict[str, str]:
    """Operation -> the backends that ran it since the last `reset`, joined by "+"."""
    return {op: "+".join(sorted(backends)) for op, backends in sorted(_used.items())}


def reset() -> None:
    """Forget which backends ran."""
    _used.clear()


def _first_available(op: str, tensor: Tensor, **needs: bool) -> str:
    return next(n for n in BACKENDS if why_not(op, n, tensor, **needs) is None)


@functools.cache
def parameters(function: Callable[..., Any]) -> frozenset[str]:
    """The names of a function's parameters."""
    return frozenset(inspect.signature(function).parameters)


def _module(op: str, backend: str) -> str:
    return f"{kernels.__name__}.{op}.{backend.replace('-', '_')}"


def constant_to_compiler(function: Function) -> Function:
    """Make torch.compile treat the function's result as a constant instead of tracing it.

    `torch.compiler.assume_constant_result` does the same, but imports the compiler, which costs
    every process a second even if it compiles nothing.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


@constant_to_compiler  # the compiler cannot trace an import
def _import_problem(name: str) -> str | None:
    """Import the module once; returns the reason if that fails, else None."""
    if name not in _problems:
        _problems[name] = _try_import(name)
    return _problems[name]


def _try_import(name: str) -> str | None:
    if importlib.util.find_spec(name) is None:
        return NOT_WRITTEN
    try:
        importlib.import_module(name)
    except ImportError as error:
        return f"it does not import here ({error})"
    return None
