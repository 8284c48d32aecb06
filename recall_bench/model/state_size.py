"""Measures the bytes of the state that decoding carries."""

from collections.abc import Iterable, Iterator, Mapping
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
    device: str | torch.device = "meta",
    real: str | torch.device = "cpu",
) -> list[LayerState]:
    """Bytes that each layer carries for one sequence after ``length`` tokens.

    The layers prefill ``length`` tokens on ``device``. The meta device gives the same shapes and
    dtypes without computing anything; a mixer that fails there runs on the CPU instead. A mixer
    with its own kernels (`Mixer.runs_on_meta` is False) runs on the device ``real``, in the
    precision in force there. A process that trains on the CPU is faster with real numbers from the
    start: for products on the meta device PyTorch imports its compiler, which takes a second.

    A mixer without a recurrent form cannot be measured; its author declares the bytes.
    """
    stack = _stack(architecture, device)
    if not all(mixer.runs_on_meta for _, mixer in stack):
        on_cpu = _stack(architecture, "cpu")
        stack = [
            layer if layer[1].runs_on_meta else (layer[0], other[1].to(real))
            for layer, other in zip(stack, on_cpu, strict=True)
        ]
    return [
        _measure(f"{index}.{name}", mixer.to(dtype), (1, length, architecture.d_model), dtype)
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


def _stack(architecture: Architecture, device: str | torch.device) -> list[tuple[str, Mixer]]:
    with isolated_rng(0), torch.device(device):
        return architecture.stack()


@torch.no_grad()
def _measure(
    name: str, mixer: Mixer, shape: tuple[int, int, int], dtype: torch.dtype
) -> LayerState:
    if not mixer.recurrent:
        return LayerState(layer=name, bytes=mixer.stated_bytes, measured=False)
    device = next(mixer.parameters(), torch.empty(0)).device
    x = torch.zeros(shape, dtype=dtype, device=device)
    try:
        _, state = mixer.prefill(x)
    except (NotImplementedError, RuntimeError):
        if x.device.type != "meta":
            raise
        real = mixer.to_empty(device="cpu")
        for parameter in real.parameters():
            parameter.zero_()
        _, state = real.prefill(torch.zeros_like(x, device="cpu"))
    kinds = {tensor.dtype for tensor in tensors(state) if tensor.is_floating_point()}
    names = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
    return LayerState(layer=name, bytes=state_bytes(state), dtype=names or None)
