"""Measures the bytes that a transformers model carries from token to token, in its cache."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recall_bench.errors import UserError
from recall_bench.model.state_size import total_bytes
from recall_bench.store.record import LayerState

NO_STATE = {"logits", "loss", "hidden_states", "attentions", "last_hidden_state", "router_logits"}
"""Outputs of a forward pass that are not part of the cache."""


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
    """The cache of a transformers model after a prefill of ``length`` - 1 tokens and one step.

    The step is needed because some models trim a window's cache only then. Raises `UserError` for a
    model that returns no cache.
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
    sizes: dict[str, int] = {}
    dtypes: dict[str, int] = {}
    for name, value in returned[-1].items():
        for path, tensor in [] if name in NO_STATE else cache_tensors(value):
            size = tensor.numel() * tensor.element_size()
            layer = ".".join((name, *path[:1]) if path[:1] != ("layers",) else path[:2])
            sizes[layer] = sizes.get(layer, 0) + size
            dtype = str(tensor.dtype).removeprefix("torch.")
            dtypes[dtype] = dtypes.get(dtype, 0) + size
    if not sizes:
        raise UserError(
            f"{type(model).__name__} returns no cache: its state cannot be measured. Expected a "
            f"causal model that decodes with use_cache=True."
        )
    layers = [LayerState(layer=layer, bytes=size) for layer, size in sizes.items()]
    return MeasuredState(max(length, 2), max(dtypes, key=lambda name: dtypes[name]), layers)


def cache_tensors(
    value: Any, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Tensor]]:
    """Every tensor in nested containers and objects, once, with its path."""
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
