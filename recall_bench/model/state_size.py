"""Measures the bytes of the state that decoding carries."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from recall_bench.architectures import Architecture, Mixer, State
from recall_bench.kernels.plumbing.nest import leaves
from recall_bench.model.backbone import isolated_rng
from recall_bench.store.record import LayerState


def tensors(state: Any) -> Iterator[Tensor]:
    """Every tensor of a state, in order; raises `TypeError` for anything else in it."""
    for leaf in leaves(state):
        if not isinstance(leaf, Tensor):
            raise TypeError(f"A state is a nest of tensors; got a {type(leaf).__name__}.")
        yield leaf


def state_bytes(state: State) -> int:
    """Bytes of all tensors of a state, batch included."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors(state))


def measure_layers(
    architecture: Architecture,
    length: int,
    dtype: torch.dtype = torch.float32,
    real: str | torch.device = "cpu",
) -> list[LayerState]:
    """Bytes that each layer carries for one sequence after ``length`` tokens.

    Each layer, freshly drawn, reads a random sequence as decoding does: all tokens but the last by
    `Mixer.prefill`, the last by `Mixer.step`. It runs on the CPU; a mixer with its own kernels
    (`Mixer.runs_on_meta` is False) runs on the device ``real``, in the precision in force there.

    A mixer without a recurrent form cannot be measured; its author declares the bytes.
    """
    with isolated_rng(0):
        stack = architecture.stack()
        x = torch.randn(1, length, architecture.d_model, dtype=dtype)
    return [
        _measure(f"{index}.{name}", mixer.to("cpu" if mixer.runs_on_meta else real, dtype), x)
        for index, (name, mixer) in enumerate(stack)
    ]


def total_bytes(layers: Iterable[LayerState]) -> int | None:
    """The bytes of all layers together; None if those of any layer are unknown."""
    total = 0
    for layer in layers:
        if layer.bytes is None:
            return None
        total += layer.bytes
    return total


def dtypes(layers: Iterable[LayerState]) -> str:
    """The floating-point types of all measured layers; "float32" if there are none."""
    names = {name for layer in layers if layer.dtype for name in layer.dtype.split(", ")}
    return ", ".join(sorted(names)) or "float32"


@torch.no_grad()
def _measure(name: str, mixer: Mixer, x: Tensor) -> LayerState:
    """Measure one layer on an input (1, length, width)."""
    if not mixer.recurrent:
        return LayerState(layer=name, bytes=mixer.stated_bytes, measured=False)
    mixer.eval()
    x = x.to(next(mixer.parameters(), x).device)
    _, state = mixer.prefill(x[:, :-1] if x.shape[1] > 1 else x)
    if x.shape[1] > 1:
        _, state = mixer.step(x[:, -1], state)
    kinds = {tensor.dtype for tensor in tensors(state) if tensor.is_floating_point()}
    names = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
    return LayerState(layer=name, bytes=state_bytes(state), dtype=names or None)
