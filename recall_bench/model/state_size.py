"""Measured sizes: the state that decoding carries, in bytes."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from recall_bench.architectures import Architecture, Mixer, State
from recall_bench.model.backbone import isolated_rng
from recall_bench.store.record import LayerState


def tensors(state: Any) -> Iterator[Tensor]:
    """Every tensor in a nest of dicts, lists and tuples."""
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, Mapping):
        for value in state.values():
            yield from tensors(value)
    elif isinstance(state, list | tuple):
        for value in state:
            yield from tensors(value)
    else:
        raise TypeError(f"A state is a nest of tensors; got a {type(state).__name__}.")


def state_bytes(state: State) -> int:
    """Bytes of all tensors of a state, batch included."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors(state))


def measure_layers(
    architecture: Architecture,
    length: int,
    dtype: torch.dtype = torch.float32,
    place: str | torch.device = "meta",
) -> list[LayerState]:
    """Bytes that each layer carries for one sequence after ``length`` tokens.

    The layers prefill ``length`` tokens. On the meta device shapes and dtypes are those of the real
    thing, and nothing is computed; a mixer that needs real numbers gets them on the CPU. A process
    that trains on the CPU is quicker with real numbers at once: for products on the meta device
    PyTorch imports its compiler, which takes a second.
    """
    with isolated_rng(0), torch.device(place):
        stack = architecture.stack()
    x = torch.zeros(1, length, architecture.d_model, dtype=dtype, device=place)
    return [
        LayerState(layer=f"{index}.{name}", bytes=_measure(mixer.to(dtype), x))
        for index, (name, mixer) in enumerate(stack)
    ]


@torch.no_grad()
def _measure(mixer: Mixer, x: Tensor) -> int:
    try:
        _, state = mixer.prefill(x)
    except (NotImplementedError, RuntimeError):
        if x.device.type != "meta":
            raise
        real = mixer.to_empty(device="cpu")
        for parameter in real.parameters():
            parameter.zero_()
        _, state = real.prefill(torch.zeros_like(x, device="cpu"))
    return state_bytes(state)
