"""The contract of a mixer."""

from collections.abc import Mapping
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor, nn

from recall_bench.architectures.carry import Carry
from recall_bench.kernels.rows_at import rows_at

State: TypeAlias = Mapping[str, Any]
"""Nested dict of tensors, batch first: what a mixer carries from one token to the next."""


class Mixer(nn.Module):
    """A causal sequence-mixing layer ``(batch, length, width) -> same``, with a recurrent form.

    Most mixers derive from `Recurrence` and write two methods. This class is for those that write
    the forms themselves: `forward` is the parallel form used in training; scanning `step` from
    `initial_state` must give the same outputs. The state holds everything that decoding carries,
    and nothing else: its bytes are what the frontier shows.
    """

    grows: bool = False
    """True where the state grows with the tokens seen, as a key-value cache does."""

    recurrent: bool = True
    """False where there is only `forward`: such a mixer is trained and scored, never decoded."""

    stated_bytes: int | None = None
    """Bytes of state that the author of a mixer without a recurrent form states, if any."""

    runs_on_meta: bool = True
    """False where the state must be measured on a real device, as kernels of its own require."""

    renamed: ClassVar[Mapping[str, str]] = {}
    """Parameters that had other names once: kept weights load by the old names (old: new)."""

    seed: Tensor | None = None
    """Set by the backbone while it trains; see `Carry.seed`."""

    @property
    def losses(self) -> dict[str, Tensor]:
        """Auxiliary losses of the last call of `forward` or `at`, by name."""
        found: dict[str, Tensor] = self.__dict__.get("_losses", {})
        return found

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, width) -> (batch, length, width)."""
        raise NotImplementedError

    def initial_state(self, batch_size: int) -> State:
        """The state before the first token, on this mixer's device."""
        raise NotImplementedError

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One token: (batch, width), state -> (batch, width), new state; ``state`` is kept."""
        raise NotImplementedError

    def prefill(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """(batch, length, width) -> outputs and the state after the last token.

        The tokens follow those of ``state``, or are the first ones. This default scans `step`.
        """
        state = self.initial_state(x.shape[0]) if state is None else state
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

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        for old, new in self.renamed.items():
            if prefix + old in state_dict:
                state_dict[prefix + new] = state_dict.pop(prefix + old)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class Recurrence(Mixer):
    """A mixer of two methods, `mix` and `finish`; every other form is derived from them.

    ``mix(x, carry)`` works on any number of tokens (batch, length, width), and the past enters
    through ``carry`` alone (see `recall_bench.architectures.carry`). It returns one tensor or
    several (batch, length, …), a row for each token. ``finish`` turns these into the output; it
    looks at each position by itself, so that it can be asked for a few positions only.
    """

    def __init__(self, d_model: int):
        super().__init__()
        self._width = d_model

    def mix(self, x: Tensor, carry: Carry) -> Tensor | tuple[Tensor, ...]:
        """(batch, length, width) -> tensors (batch, length, …), for `finish`."""
        raise NotImplementedError

    def finish(self, *mixed: Any, **_: Any) -> Tensor:
        """What `mix` returned, at some positions -> (batch, positions, width)."""
        (y,) = mixed
        assert isinstance(y, Tensor)
        return y

    def forward(self, x: Tensor) -> Tensor:
        return self.finish(*self._mixed(x))

    def at(self, x: Tensor, positions: Tensor) -> Tensor:
        """`finish` on the rows at ``positions`` alone."""
        return self.finish(*(rows_at(part, positions) for part in self._mixed(x)))

    def prefill(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Outputs and the state after the last token, in one pass."""
        carry = Carry(x, state, keep=True)
        y = self.finish(*_parts(self.mix(x, carry)))
        return y, carry.state

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, state = self.prefill(x[:, None], state)
        return y[:, 0], state

    def initial_state(self, batch_size: int) -> State:
        """The state that a prefill of no tokens leaves."""
        nothing = self.zeros(batch_size, 0, self._width)
        carry = Carry(nothing, keep=True)
        self.mix(nothing, carry)
        return carry.state

    def _mixed(self, x: Tensor) -> tuple[Tensor, ...]:
        """What `mix` gives for whole sequences; its auxiliary losses are left in `losses`."""
        carry = Carry(x, seed=self.seed if self.training else None)
        parts = _parts(self.mix(x, carry))
        self.__dict__["_losses"] = carry.losses
        return parts

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("mix", "finish"):
            raise AttributeError(
                f"A Recurrence has a method called {name!r}, which a "
                f"{type(value).__name__} would hide. Choose another name for the attribute."
            )
        super().__setattr__(name, value)


def _parts(mixed: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (mixed,) if isinstance(mixed, Tensor) else tuple(mixed)


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
