"""Bytes that a transformers model really carries from token to token, read off its cache."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recall_bench.errors import UserError
from recall_bench.model.state_size import total_bytes
from recall_bench.store.record import LayerState

NO_STATE = {"logits", "loss", "hidden_states", "attentions", "last_hidden_state", "router_logits"}
"""What a forward pass returns beside the cache, whatever the cache is called."""


@dataclass(frozen=True)
class MeasuredState:
    """The cache after ``length`` tokens of one sequence."""

    length: int
    dtype: str
    layers: list[LayerState]

    @property
    def bytes(self) -> int | None:
        return total_bytes(self.layers)


@torch.no_grad()
def measure_state(model: Any, length: int) -> MeasuredState:
    """The cache of a transformers model that prefilled ``length`` - 1 tokens and took one step.

    The step matters: a window's cache may be trimmed only then. Raises `UserError` for a model
    that returns no cache.
    """
    returned: list[Mapping[str, Any]] = []
    hook = model.register_forward_hook(lambda _module, _arguments, output: returned.append(output))
    try:
        model.generate(
            input_ids=torch.zeros(1, max(length - 1, 1), dtype=torch.long, device=model.device),
            attention_mask=torch.ones(1, max(length - 1, 1), dtype=torch.long, device=model.device),
            min_new_tokens=2,
            max_new_tokens=2,
            do_sample=False,
            use_cache=True,
            pad_token_id=0,
        )
    finally:
        hook.remove()
    found: dict[str, int] = {}
    dtypes: dict[str, int] = {}
    for name, value in returned[-1].items():
        for path, tensor in [] if name in NO_STATE else cache_tensors(value):
            size = tensor.numel() * tensor.element_size()
            layer = ".".join((name, *path[:1]) if path[:1] != ("layers",) else path[:2])
            found[layer] = found.get(layer, 0) + size
            dtype = str(tensor.dtype).removeprefix("torch.")
            dtypes[dtype] = dtypes.get(dtype, 0) + size
    if not found:
        raise UserError(
            f"{type(model).__name__} returns no cache: its state cannot be measured. Expected a "
            f"causal model that decodes with use_cache=True."
        )
    layers = [LayerState(layer=layer, bytes=size) for layer, size in found.items()]
    return MeasuredState(max(length, 2), max(dtypes, key=lambda name: dtypes[name]), layers)


def cache_tensors(
    value: Any, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Tensor]]:
    """Every tensor in a nest of containers and objects, with where it lies; none twice."""
    seen: set[int] = set()

    def walk(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Tensor]]:
        if id(value) in seen or isinstance(value, type | torch.nn.Module):
            return
        seen.add(id(value))
        if isinstance(value, Tensor):
            yield path, value
        elif isinstance(value, Mapping):
            for key, item in value.items():
                yield from walk(item, (*path, str(key)))
        elif isinstance(value, list | tuple):
            for index, item in enumerate(value):
                yield from walk(item, (*path, str(index)))
        elif hasattr(value, "__dict__"):
            yield from walk(vars(value), path)

    yield from walk(value, path)
