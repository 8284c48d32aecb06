"""A key-value cache with room for more tokens, to which attention appends in place."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor


class Cache(Mapping[str, Tensor]):
    """The state of `attention` in buffers for a fixed number of tokens, filled from the front.

    Its tensors are views of the filled part, so that its bytes are those of the tokens it holds.
    """

    def __init__(self, buffers: dict[str, Tensor], filled: int):
        """``buffers`` are (batch, room, heads, d) each, with ``filled`` tokens in front."""
        self._buffers = buffers
        self._filled = filled

    def __getitem__(self, name: str) -> Tensor:
        return self._buffers[name][:, : self._filled]

    def __iter__(self) -> Iterator[str]:
        return iter(self._buffers)

    def __len__(self) -> int:
        return len(self._buffers)

    def append(self, state: Mapping[str, Tensor]) -> None:
        """Append the tokens of ``state``.

        Raises `ValueError` if there is too little room; nothing is changed then.
        """
        self._write(state, self._filled)

    def assign(self, state: Mapping[str, Tensor]) -> None:
        """Replace the tokens by those of ``state``.

        Raises `ValueError` if there is too little room; nothing is changed then.
        """
        self._write(state, 0)

    def _write(self, state: Mapping[str, Tensor], start: int) -> None:
        for name, buffer in self._buffers.items():
            new, room = state[name], buffer.shape[1]
            if start + new.shape[1] > room:
                raise ValueError(
                    f"The key-value cache has room for {room} tokens, of which {start} are used. "
                    f"Got {new.shape[1]} more; reserve room for them first."
                )
            if new.shape[:1] + new.shape[2:] != buffer.shape[:1] + buffer.shape[2:]:
                batch, _, heads, d = buffer.shape
                raise ValueError(
                    f"The key-value cache takes {name} of shape ({batch}, tokens, {heads}, {d}). "
                    f"Got {tuple(new.shape)}."
                )
        for name, buffer in self._buffers.items():
            end = start + state[name].shape[1]
            buffer[:, start:end] = state[name]
        self._filled = end


def reserve(state: Mapping[str, Tensor], n: int) -> Cache:
    """A copy of ``state``, that of `attention`, with room for ``n`` more tokens.

    `attention` appends to it in place if it is both ``initial_state`` and ``state_out``:

        cache = reserve(attention.empty_state(q, k, v), 100)
        y, cache = attention(q, k, v, initial_state=cache, state_out=cache)
    """
    if n < 0:
        raise ValueError(f"n must be at least 0. Got {n}.")

    def roomy(x: Tensor) -> Tensor:
        batch, tokens, *rest = x.shape
        buffer = torch.zeros(batch, tokens + n, *rest, dtype=x.dtype, device=x.device)
        buffer[:, :tokens] = x
        return buffer

    return Cache({name: roomy(x) for name, x in state.items()}, state["keys"].shape[1])
