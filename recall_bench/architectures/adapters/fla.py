"""Layers of flash-linear-attention: `fla_layer`, and the cache they keep their state in.

The protocol is that of fla 0.6.0 (``fla/models/cache_utils.py`` and ``fla/layers/utils.py``).
"""

from typing import Any

import torch
from torch import Tensor, nn

from recall_bench.architectures.adapters.nest import mapped
from recall_bench.architectures.base import Mixer, State
from recall_bench.errors import UserError

ENTRIES = ("recurrent_state", "attn_state", "conv_state", "ffn_state")
SEEN = "seen_tokens"


def fla_layer(
    layer: nn.Module, *, width: int | None = None, grows: bool = False, bf16: bool = False
) -> Mixer:
    """A mixer of one fla layer: ``layer(x, past_key_values=…, use_cache=…)`` -> (output, …).

    The layer must have been built with ``layer_idx=0``: each layer stands by itself here. ``width``
    is its ``hidden_size`` unless given. ``grows`` says that it keeps all keys and values. ``bf16``
    runs the layer under bfloat16 autocast whatever the precision of the run, as kernels that refuse
    float32 require (DeltaNet's); outputs have the dtype of the inputs.

    Raises `UserError` for another ``layer_idx`` and where the width is not known.
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
    """What one layer keeps, behind the methods that fla's layers call on their cache."""

    def __init__(self, state: State | None = None):
        kept = dict(state or {})
        seen = kept.pop(SEEN, None)
        self._seen = 0 if seen is None else int(seen[0])
        self._asked = seen is not None
        self._entry: dict[str, Any] | None = dict.fromkeys(ENTRIES) | kept if kept else None

    def state(self, batch_size: int, device: torch.device) -> State:
        """The tensors kept; the number of tokens too, but only where the layer asked for it."""
        entry = self._entry or {}
        state = {name: mapped(entry[name], _same) for name in entry if entry[name] is not None}
        if self._asked:
            state[SEEN] = torch.full((batch_size,), self._seen, device=device)
        return state

    def __len__(self) -> int:
        return 0 if self._entry is None else 1

    def __getitem__(self, layer_idx: int) -> dict[str, Any]:
        if self._entry is None or layer_idx != 0:
            raise KeyError(f"The cache has {len(self)} layers; layer {layer_idx} was asked for.")
        return self._entry

    def get_seq_length(self, layer_idx: int | None = 0) -> int:
        self._asked = True
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
        """Replace what is given; keys and values are appended, up to ``window_size`` tokens."""
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

    runs_on_meta = False  # a Triton kernel would be launched on addresses that are not there

    def __init__(self, layer: nn.Module, width: int, grows: bool, bf16: bool):
        super().__init__()
        self.layer, self.grows = layer, grows
        self._width, self._bf16 = width, bf16

    def forward(self, x: Tensor) -> Tensor:
        return self._run(x)

    def initial_state(self, batch_size: int) -> State:
        """Zeros of the shapes that one token leaves; keys and values of no token."""
        with torch.no_grad():
            _, state = self.prefill(self.zeros(batch_size, 1, self._width))
        return {
            name: mapped(value, _no_tokens if name == "attn_state" else torch.zeros_like)
            for name, value in state.items()
        }

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, state = self.prefill(x[:, None], state)
        return y[:, 0], state

    def prefill(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        if x.shape[1] == 0:
            return x, self.initial_state(x.shape[0]) if state is None else state
        # Decoding kernels write into the tensors of the cache.
        cache = FlaCache(None if state is None else mapped(state, torch.clone))
        y = self._run(x, past_key_values=cache, use_cache=True)
        return y, cache.state(x.shape[0], x.device)

    def _run(self, x: Tensor, **options: Any) -> Tensor:
        if not self._bf16:
            y: Tensor = self.layer(x, **options)[0]
            return y
        with torch.autocast(x.device.type, torch.bfloat16, cache_enabled=False):
            y = self.layer(x, **options)[0]
        return y.to(x.dtype)


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _no_tokens(tensor: Tensor) -> Tensor:
    return tensor[:, :0]
