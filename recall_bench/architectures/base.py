"""The contract of a mixer."""

import math
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

    Most mixers derive from `Recurrence` and write two methods. Derive from this class to write
    every form yourself: training uses the parallel form `forward`, and scanning `step` from
    `initial_state` must give the same outputs. The state holds everything that decoding carries
    and nothing else: the frontier shows its bytes.
    """

    grows: bool = False
    """True if the state grows with the tokens seen, as a key-value cache does."""

    recurrent: bool = True
    """False if the mixer has only `forward`: it is then trained and scored, but never decodes."""

    stated_bytes: int | None = None
    """State bytes declared by the author of a mixer without a recurrent form; None if unknown."""

    runs_on_meta: bool = True
    """False if the mixer's own kernels need a real device to measure the state on."""

    renamed: ClassVar[Mapping[str, str]] = {}
    """Former names of parameters (old: new): weights saved under the old names still load."""

    seed: Tensor | None = None
    """The backbone sets it during training; see `Carry.seed`."""

    @property
    def losses(self) -> dict[str, Tensor]:
        """Auxiliary losses of the last call of `forward` or `at`, by name."""
        losses: dict[str, Tensor] = self.__dict__.get("_losses", {})
        return losses

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, width) -> (batch, length, width)."""
        raise NotImplementedError

    def initial_state(self, batch_size: int) -> State:
        """The state before the first token, on this mixer's device."""
        raise NotImplementedError

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One token: (batch, width), state -> (batch, width), new state.

        Must leave ``state`` unchanged.
        """
        raise NotImplementedError

    def prefill(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """(batch, length, width) -> outputs and the state after the last token.

        The tokens continue those of ``state``; without one they start the sequence. This default
        scans `step`.
        """
        state = self.initial_state(x.shape[0]) if state is None else state
        outputs = []
        for token in x.unbind(1):
            y, state = self.step(token, state)
            outputs.append(y)
        return (torch.stack(outputs, 1) if outputs else torch.empty_like(x)), state

    def at(self, x: Tensor, positions: Tensor) -> Tensor:
        """Outputs of `forward` at ``positions`` only, (batch, queries) -> (batch, queries, width).

        Training and scoring read the last layer at these positions only. This default computes
        every output and selects; override it to skip the others.
        """
        return rows_at(self(x), positions)

    def zeros(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """Zeros on this mixer's device, by default in the dtype of its parameters."""
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
    """A mixer written as two methods, `mix` and `finish`; this class derives every other form.

    ``mix(x, carry)`` takes any number of tokens (batch, length, width) and reads the past only
    through ``carry`` (see `recall_bench.architectures.carry`). It returns one or several tensors
    (batch, length, …), one row per token. ``finish`` turns these into the output. It treats each
    position separately, so that callers can compute a few positions only.
    """

    def __init__(self, d_model: int):
        super().__init__()
        self._width = d_model

    def mix(self, x: Tensor, carry: Carry) -> Tensor | tuple[Tensor, ...]:
        """(batch, length, width) -> tensors (batch, length, …), for `finish`."""
        raise NotImplementedError

    def finish(self, *mixed: Any, **_: Any) -> Tensor:
        """Tensors that `mix` returned, at some positions -> outputs (batch, positions, width)."""
        (y,) = mixed
        assert isinstance(y, Tensor)
        return y

    def forward(self, x: Tensor) -> Tensor:
        return self.finish(*self._mixed(x))

    def at(self, x: Tensor, positions: Tensor) -> Tensor:
        """Apply `finish` only to the rows at ``positions``."""
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
        """The state after a prefill of zero tokens."""
        empty = self.zeros(batch_size, 0, self._width)
        carry = Carry(empty, keep=True)
        self.mix(empty, carry)
        return carry.state

    def _mixed(self, x: Tensor) -> tuple[Tensor, ...]:
        """Run `mix` on whole sequences and store its auxiliary losses in `losses`."""
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
    """Mark parameters of linear maps that have their own published initialisation.

    The backbone leaves them unchanged; it draws all others of our `Linear` maps anew.
    """
    for parameter in parameters:
        parameter._no_reinit = True  # type: ignore[attr-defined]


def draw_branch_end(weight: Tensor, layers: int) -> None:
    """Draw the last map of a branch from normal(0, 0.02 / sqrt(2 layers)), as zoology's code does.

    ``layers`` is the number of layers of the whole stack. The backbone then leaves it unchanged.
    """
    nn.init.normal_(weight, std=0.02 / math.sqrt(2 * layers))
    keep_initialisation(weight)


def exempt_from_decay(*parameters: Tensor) -> None:
    """Mark parameters that weight decay must skip, such as rates and time scales."""
    for parameter in parameters:
        parameter._no_weight_decay = True  # type: ignore[attr-defined]
