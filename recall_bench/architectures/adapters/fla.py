"""Wraps layers of flash-linear-attention: `fla_layer`, and the cache that holds their state.

The protocol is that of fla 0.6.0 (``fla/models/cache_utils.py`` and ``fla/layers/utils.py``).
"""

from typing import Any

import torch
from torch import Tensor, nn

from recall_bench.architectures.base import Mixer, State
from recall_bench.errors import UserError
from recall_bench.kernels.plumbing.nest import map_leaves

ENTRIES = ("recurrent_state", "attn_state", "conv_state", "ffn_state")
SEEN = "seen_tokens"


def fla_layer(
    layer: nn.Module, *, width: int | None = None, grows: bool = False, bf16: bool = False
) -> Mixer:
    """A mixer of one fla layer: ``layer(x, past_key_values=…, use_cache=…)`` -> (output, …).

    Build the layer with ``layer_idx=0``: each layer stands by itself here. ``width`` defaults to
    its ``hidden_size``. Set ``grows`` if it keeps all keys and values. ``bf16`` runs the layer
    under bfloat16 autocast whatever the precision of the run, for kernels that refuse float32 such
    as DeltaNet's; outputs keep the dtype of the inputs.

    Raises `UserError` for another ``layer_idx`` and if the width is unknown.
    """
    index = getattr(layer, "layer_idx", None)
    name = type(layer).__name__
    if index != 0:
        raise UserError(
            f"fla_layer got a {name} with layer_idx={index}. Expected layer_idx=0: "
            f"each layer stands by itself, without values or caches of other layers."
        )
    width = width or getattr(layer, "hidden_size", None)
    if width is None:
        raise UserError(f"{name} has no hidden_size. Expected fla_layer(layer, width=…).")
    return FlaLayer(layer, width, grows, bf16)


class FlaCache:
    """The state of one layer, behind the methods that fla's layers call on their cache."""

    def __init__(self, state: State | None = None):
        entries = dict(state or {})
        seen = entries.pop(SEEN, None)
        self._seen = 0 if seen is None else int(seen[0])
        self._counts = seen is not None
        self._entry: dict[str, Any] | None = dict.fromkeys(ENTRIES) | entries if entries else None

    def state(self, batch_size: int, device: torch.device) -> State:
        """The tensors of the cache, and the number of tokens if the layer has read it."""
        entry = self._entry or {}
        state = {
            name: map_leaves(_tensor, entry[name]) for name in entry if entry[name] is not None
        }
        if self._counts:
            state[SEEN] = torch.full((batch_size,), self._seen, device=device)
        return state

    def __len__(self) -> int:
        return 0 if self._entry is None else 1

    def __getitem__(self, layer_idx: int) -> dict[str, Any]:
        if self._entry is None or layer_idx != 0:
            raise KeyError(f"The cache has {len(self)} layers, but not layer {layer_idx}.")
        return self._entry

    def get_seq_length(self, layer_idx: int | None = 0) -> int:
        self._counts = True
        return self._seen

    def update(
        self,
        recurrent_state: Any = None,
        attn_state: Any = None,
        conv_state: Any = None,
        ffn_state: Any = None,
        layer_idx: int = 0,
        offset: int | None = 1,
        cache_kwargs: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Replace the given states; append keys and values, keeping ``window_size`` tokens."""
        entry = self._entry = self._entry or dict.fromkeys(ENTRIES)
        given = {"recurrent_state": recurrent_state, "conv_state": conv_state}
        given["ffn_state"] = ffn_state
        entry.update((name, value) for name, value in given.items() if value is not None)
        if attn_state is not None:
            window, before = (cache_kwargs or {}).get("window_size"), entry["attn_state"]
            offset = attn_state[0].shape[1]
            both = (
                zip(before, attn_state, strict=True) if before else ((new,) for new in attn_state)
            )
            entry["attn_state"] = tuple(torch.cat(parts, 1)[:, -(window or 0) :] for parts in both)
        self._seen += 1 if offset is None else offset
        return entry


class FlaLayer(Mixer):
    """See `fla_layer`."""

    runs_on_meta = False  # Triton kernels would access memory that does not exist

    def __init__(self, layer: nn.Module, width: int, grows: bool, bf16: bool):
        super().__init__()
        self.layer, self.grows = layer, grows
        self._width, self._bf16 = width, bf16

    def forward(self, x: Tensor) -> Tensor:
        return self._run(x)

    def initial_state(self, batch_size: int) -> State:
        """Zeros in the shapes of the state after one token; keys and values of zero tokens."""
        with torch.no_grad():
            _, state = self.prefill(self.zeros(batch_size, 1, self._width))
        return {
            name: map_leaves(_no_tokens if name == "attn_state" else torch.zeros_like, value)
            for name, value in state.items()
        }

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, state = self.prefill(x[:, None], state)
        return y[:, 0], state

    def prefill(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        if x.shape[1] == 0:
            return x, self.initial_state(x.shape[0]) if state is None else state
        # Decoding kernels write into the tensors of the cache.
        cache = FlaCache(None if state is None else map_leaves(torch.clone, state))
        y = self._run(x, past_key_values=cache, use_cache=True)
        return y, cache.state(x.shape[0], x.device)

    def _run(self, x: Tensor, **options: Any) -> Tensor:
        if not self._bf16:
            y: Tensor = self.layer(x, **options)[0]
            return y
        with torch.autocast(x.device.type, torch.bfloat16, cache_enabled=False):
            y = self.layer(x, **options)[0]
        return y.to(x.dtype)


def _tensor(leaf: Any) -> Tensor:
    if not isinstance(leaf, Tensor):
        raise TypeError(f"A layer's cache holds a {type(leaf).__name__}; expected tensors alone.")
    return leaf


def _no_tokens(tensor: Tensor) -> Tensor:
    return tensor[:, :0]
