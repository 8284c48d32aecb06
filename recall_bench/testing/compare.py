"""Compares tensors and states; messages say where they differ and by how much."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from recall_bench.architectures import State
from recall_bench.kernels.plumbing.nest import map_leaves
from recall_bench.model.state_size import tensors
from recall_bench.testing.report import Failure

AXES = ("row", "position", "channel")


def agree(
    got: Tensor, expected: Tensor, what: str, tolerance: float, axes: tuple[str, ...] = AXES
) -> float:
    """The largest difference, relative to the largest expected magnitude.

    Raises `Failure` with its index and magnitude if it exceeds ``tolerance``.
    """
    if got.shape != expected.shape:
        raise Failure(f"{what}: shape {tuple(got.shape)}, expected {tuple(expected.shape)}")
    for tensor in (expected, got):
        require_finite(tensor, what, axes)
    if got.numel() == 0:
        return 0.0
    got, expected = got.double(), expected.double()
    difference = (got - expected).abs()
    scale = float(expected.abs().max())
    worst = int(difference.argmax())
    largest = float(difference.flatten()[worst])
    relative = largest / scale if scale else largest
    if relative > tolerance:
        rounding = " (about the rounding error of float32: is something cast to it?)"
        raise Failure(
            f"{what}: largest difference at {describe_index(worst, got, axes)}, "
            f"{float(got.flatten()[worst]):.6g} against {float(expected.flatten()[worst]):.6g}; "
            f"{_first_position(difference > tolerance * scale, axes)}"
            f"that is {relative:.1e} of the largest magnitude, allowed is {tolerance:.0e}"
            f"{rounding if 1e-9 < relative < 1e-5 else ''}"
        )
    return relative


def require_finite(tensor: Tensor, what: str, axes: tuple[str, ...] = AXES) -> None:
    """Raise `Failure` with the index of the first value that is not finite."""
    bad = (~torch.isfinite(tensor)).flatten().nonzero()
    if len(bad):
        first = int(bad[0])
        raise Failure(
            f"{what}: {float(tensor.flatten()[first])} at {describe_index(first, tensor, axes)}, "
            f"{len(bad)} of {tensor.numel()} values are not finite"
        )


def _first_position(differs: Tensor, axes: tuple[str, ...]) -> str:
    if axes != AXES or differs.ndim != len(AXES):
        return ""
    return f"they differ from position {int(differs.any(0).any(1).nonzero()[0])} on; "


def describe_index(flat: int, tensor: Tensor, axes: tuple[str, ...]) -> str:
    """A flat index in words: "row 0, position 5, channel 3"."""
    index = [int(i) for i in torch.unravel_index(torch.tensor(flat), tensor.shape)]
    if len(index) != len(axes):
        return f"index {tuple(index)}"
    return ", ".join(f"{axis} {i}" for axis, i in zip(axes, index, strict=True))


def named_tensors(state: Any, name: str = "state") -> dict[str, Tensor]:
    """The tensors of a state by path: "state.conv", "state.layers[0]"."""
    if isinstance(state, Tensor):
        return {name: state}
    if isinstance(state, Mapping):
        items = [(f"{name}.{key}", value) for key, value in state.items()]
    elif isinstance(state, tuple) and hasattr(state, "_fields"):
        items = [(f"{name}.{key}", getattr(state, key)) for key in state._fields]
    elif isinstance(state, list | tuple):
        items = [(f"{name}[{index}]", value) for index, value in enumerate(state)]
    else:
        raise Failure(f"{name} is a {type(state).__name__}, expected a nest of tensors")
    return {
        path: tensor for key, value in items for path, tensor in named_tensors(value, key).items()
    }


def layout(state: State) -> dict[str, str]:
    """Shape and dtype of every tensor of a state, for comparison and messages."""
    return {
        name: f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
        for name, tensor in named_tensors(state).items()
    }


def same_layout(got: State, expected: State, what: str) -> None:
    """Raise `Failure` naming the first tensor whose path, shape or dtype differs."""
    got_layout, expected_layout = layout(got), layout(expected)
    for name in sorted({*got_layout, *expected_layout}):
        if got_layout.get(name) != expected_layout.get(name):
            raise Failure(
                f"{what}: {name} is {got_layout.get(name, 'missing')}, "
                f"expected {expected_layout.get(name, 'none')}"
            )


def clone(state: Any) -> Any:
    """Copy a nest of tensors without sharing memory."""
    return map_leaves(lambda x: x.detach().clone() if isinstance(x, Tensor) else x, state)


def equal(a: State, b: State) -> bool:
    """Whether two states are equal, bit for bit; NaN equals NaN."""
    pairs = zip(tensors(a), tensors(b), strict=True)
    return all(x.shape == y.shape and torch.equal(x.nan_to_num(), y.nan_to_num()) for x, y in pairs)
