"""The calling convention of operators that carry a state from token to token.

    op(*inputs, initial_state=None, return_state=False, state_out=None, backend="auto")

An operator is declared by a function with the operator's own arguments and documentation. Its body
checks the shapes of the inputs and returns the state's layout, a nest of `Zeros`:

    @operator()
    def wkv(r, k, v, log_decay, bonus):
        '''y_t = …'''
        sizes = Shapes("wkv")
        …
        return Zeros((sizes["batch"], …), log_decay.dtype)

`Operator` does everything else: it chooses the backend, and its step kernel for a single token,
handles length 0, checks the initial state, and writes the new state into ``state_out``.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from recall_bench.kernels.plumbing import dispatch
from recall_bench.kernels.plumbing.nest import leaves, map_leaves


@dataclass(frozen=True)
class Zeros:
    """The layout of one tensor of a state; before the first token it holds zeros."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    grows: bool = False
    """Whether axis 1 counts the tokens so far; it is 0 before the first one."""


Layout: TypeAlias = Any
"""A nest of `Zeros`: dicts, tuples and named tuples, or a single one."""


class Shapes:
    """The sizes of an operator's axes, on which its inputs must agree."""

    def __init__(self, operator: str):
        self._operator = operator
        self._sizes: dict[str, int] = {}

    def __getitem__(self, axis: str) -> int:
        return self._sizes[axis]

    def check(self, name: str, tensor: Tensor, axes: str) -> None:
        """Give ``tensor`` the axes named in ``axes``, separated by spaces.

        A number stands for an axis of that size, "…" for any number of axes of any sizes. Raises
        `ValueError` if the number of axes differs, or if an axis has another size than in an
        earlier tensor.
        """
        names = axes.split()
        named, shape = names, tensor.shape
        if "…" in names:
            first, last = names.index("…"), len(names) - 1 - names.index("…")
            if len(shape) >= first + last:
                named = names[:first] + names[first + 1 :]
                shape = shape[:first] + shape[len(shape) - last :]
        if len(named) == len(shape) and all(map(self._fits, named, shape)):
            return
        known = [f"{axis} {self._sizes[axis]}" if axis in self._sizes else axis for axis in names]
        raise ValueError(
            f"{self._operator}: {name} must have shape ({', '.join(known)}). "
            f"Got {tuple(tensor.shape)}."
        )

    def check_groups(self, heads: str, groups: str) -> None:
        """Raise `ValueError` unless the size of ``heads`` is a multiple of that of ``groups``."""
        if self[groups] == 0 or self[heads] % self[groups] != 0:
            raise ValueError(
                f"{self._operator}: the number of {heads} must be a multiple of that of {groups}. "
                f"Got {self[heads]} and {self[groups]}."
            )

    def _fits(self, axis: str, size: int) -> bool:
        if axis.isdigit():
            return int(axis) == size
        return self._sizes.setdefault(axis, size) == size


class Operator:
    """A function on tensors that carries a state; see the module's docstring for the convention."""

    def __init__(self, declare: Callable[..., Layout], length_axis: int):
        functools.update_wrapper(self, declare)
        self._name = declare.__name__
        self._declare = declare
        self._first_input = next(iter(inspect.signature(declare).parameters))
        self.length_axis = length_axis

    def __call__(
        self,
        *inputs: Any,
        initial_state: Any = None,
        return_state: bool = False,
        state_out: Any = None,
        backend: str = "auto",
        **options: Any,
    ) -> Any:
        """Return the output, and with ``return_state`` also the state after the last token.

        The sequence continues from ``initial_state``, or starts anew if that is None. The call
        writes the new state into the tensors of ``state_out``, which may be those of the initial
        state, and returns it; otherwise it changes no tensor. Raises `ValueError` if shapes do
        not fit.
        """
        layout = self._declare(*inputs, **options)
        first = inputs[0] if inputs else options[self._first_input]
        length = first.shape[self.length_axis]
        if initial_state is not None:
            initial_state = _matched(self._name, initial_state, layout)
        if length == 0:
            y = self._module("reference")(*inputs, **options)
            state = initial_state
            if state is None:
                state = allocate(layout, first.device)
        else:
            stateful = initial_state is not None
            step = stateful and length == 1
            chosen = dispatch.resolve(self._name, backend, first, stateful=stateful, single=step)
            run = self._module(chosen, step)
            if stateful:
                options["initial_state"] = initial_state
            if state_out is not None and "state_out" in dispatch.parameters(run):
                options["state_out"] = state_out
            if not (return_state or state_out is not None):
                return run(*inputs, **options)
            y, state = run(*inputs, **options, return_state=True)
        if state_out is not None:
            state = write(state, state_out)
        return (y, state) if return_state or state_out is not None else y

    def empty_state(self, *inputs: Any, **options: Any) -> Any:
        """The state before the first token, for inputs of these shapes and on their device."""
        layout = self._declare(*inputs, **options)
        first = inputs[0] if inputs else options[self._first_input]
        return allocate(layout, first.device)

    def _module(self, backend: str, step: bool = False) -> Callable[..., Any]:
        """The backend's function, or for one token its step function if it has one."""
        return dispatch.form(dispatch.backend_module(self._name, backend), self._name, step=step)


def operator(length_axis: int = 1) -> Callable[[Callable[..., Layout]], Operator]:
    """Decorator that turns a declaring function into an `Operator`.

    ``length_axis`` is the axis of the first input that counts tokens.
    """
    return lambda declare: Operator(declare, length_axis)


def allocate(layout: Layout, device: torch.device) -> Any:
    """The state before the first token: zeros with the shapes and dtypes of ``layout``."""

    def zeros(leaf: Zeros) -> Tensor:
        return torch.zeros(leaf.shape, dtype=leaf.dtype, device=device)

    return map_leaves(zeros, layout)


def write(state: Any, out: Any) -> Any:
    """Copy a state into ``out``, a nest of the same structure, and return ``out``.

    A container with a method ``assign`` copies the state itself. Raises `ValueError` if a tensor
    has another shape than its counterpart.
    """
    if state is out:  # the backend has written it already
        return out
    if hasattr(out, "assign"):
        out.assign(state)
        return out
    for source, target in zip(leaves(state), leaves(out), strict=True):
        if source.shape != target.shape:
            raise ValueError(
                f"state_out must have room for a state of shape {tuple(source.shape)}. "
                f"Got {tuple(target.shape)}."
            )
        if source is not target:
            target.copy_(source)
    return out


def _matched(op: str, state: Any, layout: Layout, name: str = "initial_state") -> Any:
    """``state`` in the containers of ``layout``; raises `ValueError` if shapes differ."""
    if isinstance(layout, Zeros):
        if not isinstance(state, Tensor):
            raise ValueError(f"{op}: {name} must be a tensor. Got a {type(state).__name__}.")
        got, expected = list(state.shape), list(layout.shape)
        if layout.grows and len(got) == len(expected):
            del got[1], expected[1]
        if got != expected:
            shape = list(map(str, layout.shape))
            shape[1:2] = ["tokens"] if layout.grows else shape[1:2]
            raise ValueError(
                f"{op}: {name} must have shape ({', '.join(shape)}). Got {tuple(state.shape)}."
            )
        return state
    if isinstance(layout, Mapping):
        if not isinstance(state, Mapping) or state.keys() != layout.keys():
            raise ValueError(f"{op}: {name} must hold {', '.join(layout)}. Got {_describe(state)}.")
        if isinstance(state, dict):
            return {
                key: _matched(op, state[key], layout[key], f"{name}[{key!r}]") for key in layout
            }
        for key in layout:
            _matched(op, state[key], layout[key], f"{name}[{key!r}]")
        return state
    fields = getattr(layout, "_fields", range(len(layout)))
    if isinstance(state, Mapping):
        state = [state[field] for field in fields]
    if not isinstance(state, tuple | list) or len(state) != len(layout):
        raise ValueError(f"{op}: {name} must hold {len(layout)} tensors. Got {_describe(state)}.")
    parts = [
        _matched(op, part, expected, f"{name}.{field}")
        for part, expected, field in zip(state, layout, fields, strict=True)
    ]
    return type(layout)(*parts) if hasattr(layout, "_fields") else tuple(parts)


def _describe(state: Any) -> str:
    if isinstance(state, Mapping):
        return ", ".join(map(str, state)) or "nothing"
    return f"a {type(state).__name__}"
