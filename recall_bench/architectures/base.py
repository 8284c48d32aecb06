"""The contract of a mixer."""

from collections.abc import Mapping
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor, nn

from recall_bench.kernels.rows_at import rows_at

State: TypeAlias = Mapping[str, Any]
"""Nested dict of tensors, batch first: what a mixer carries from one token to the next."""


class Mixer(nn.Module):
    """A causal sequence-mixing layer ``(batch, length, width) -> same``, with a recurrent form.

    `forward` is the parallel form used in training; scanning `step` from `initial_state` must give
    the same outputs. The state holds everything that decoding carries, and nothing else: its bytes
    are what the frontier shows.
    """

    grows: ClassVar[bool] = False
    """True where the state grows with the tokens seen, as a key-value cache does."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, width) -> (batch, length, width)."""
        raise NotImplementedError

    def initial_state(self, batch_size: int) -> State:
        """The state before the first token, on this mixer's device."""
        raise NotImplementedError

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One token: (batch, width), state -> (batch, width), new state; ``state`` is kept."""
        raise NotImplementedError

    def prefill(self, x: Tensor) -> tuple[Tensor, State]:
        """(batch, length, width) -> outputs of `forward` and the state after the last token.

        This default scans `step`; override it with a parallel form.
        """
        state = self.initial_state(x.shape[0])
        outputs = []
        for token in x.unbind(1):
            y, state = self.step(token, state)
            outputs.append(y)
        return (torch.stack(outputs, 1) if outputs else torch.empty_like(x)), state

    def at(self, x: Tensor, positions: Tensor) -> Tensor:
        """Outputs of `forward` at ``positions`` alone, (batch, queries) -> (batch, queries, width).

        Training and scoring look at the last layer nowhere else. This default computes all and
        picks; override it where the others need not be computed.
        """
        return rows_at(self(x), positions)

    def zeros(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """Zeros on this mixer's device, in its parameters' dtype unless told otherwise."""
        like = next(self.parameters())
        return torch.zeros(shape, device=like.device, dtype=dtype or like.dtype)


def keep_initialisation(*parameters: Tensor) -> None:
    """Mark parameters of linear maps that have a published initialisation of their own.

    The backbone leaves them as they are; it draws all others from a normal of its own.
    """
    for parameter in parameters:
        parameter._no_reinit = True  # type: ignore[attr-defined]


def exempt_from_decay(*parameters: Tensor) -> None:
    """Mark parameters that the optimiser must not decay, such as rates and time scales."""
    for parameter in parameters:
        parameter._no_weight_decay = True  # type: ignore[attr-defined]
