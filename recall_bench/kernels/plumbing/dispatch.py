"""Which implementation of an operation runs, and a record of which one did.

The operation ``<op>`` lives in the folder ``kernels/<op>/``; each backend is a module there that
defines functions of the operation's names and signatures: ``reference.py`` always, ``triton.py``
where someone wrote one, ``mamba_ssm.py`` and ``flash_attn.py`` where those packages have the
operation. Modules are imported when they are asked for, not before. A backend may also define
``unavailable(op, tensor) -> str | None``, the reason why it cannot run ``op`` on such a tensor, and
``<op>_step``, a quicker form for a single token (see `recall_bench.kernels.plumbing.operator`).
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

Ours come before other packages' because they are faster where both were timed on one H200.
"""

NOT_WRITTEN = "nobody has written it"
NO_STATE = "it starts from the first token and takes no initial state"

VARIABLE = "RECALL_BENCH_KERNELS"
"""The environment variable that names the backend "auto" stands for, in the operations that have
it; the others choose as if it were not set."""

Function = TypeVar("Function", bound=Callable[..., Any])

_used: dict[str, set[str]] = {}
_problems: dict[str, str | None] = {}


def resolve(
    op: str, backend: str, tensor: Tensor, *, stateful: bool = False, single: bool = False
) -> str:
    """The backend that runs ``op`` on tensors like ``tensor``; the choice is recorded for `used`.

    With ``stateful`` it must be able to start from a given state, and with ``single`` as well to
    process a single token, for which its step function will do. Raises `UserError` where the
    backend asked for does not exist or cannot run. Meta tensors carry shapes only: they take the
    reference, and nothing is recorded.
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
    """The function ``op``, or another ``function`` of it, of the backend that `resolve` chooses."""
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
    """Why ``backend`` cannot run ``op`` on tensors like ``tensor``; None where it can."""
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
    """The function ``op`` of a backend's module; its ``<op>_step`` for a step, where it has one."""
    function: Callable[..., Any] | None = getattr(module, f"{op}_step", None) if step else None
    if function is None:
        function = getattr(module, op)
    return function


def operations() -> list[str]:
    """Every operation there is: one a folder, beside that of their plumbing."""
    folders = {module.name for module in pkgutil.iter_modules(kernels.__path__) if module.ispkg}
    return sorted(folders - {"plumbing"})


def used() -> dict[str, str]:
    """Operation -> the backend it ran with since the last `reset`; several are joined by "+"."""
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
    """Have torch.compile take the function's result as constant instead of tracing it.

    This is `torch.compiler.assume_constant_result` without its import of the compiler, which takes
    every process a second, whether it compiles or not.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


@constant_to_compiler  # which cannot trace an import
def _import_problem(name: str) -> str | None:
    """Imports the module; the reason where that is not possible, which is not tried again."""
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
