"""The state that a mixer carries from token to token, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

START = "start"
"""The name under which `Carry.start` is kept."""


class Carry:
    """The past of one call of `Recurrence.mix`, and the state after it.

    ``carry(name, operator, *inputs)`` runs an operator from the state kept under ``name`` and keeps
    its new state. An operator is any function that follows the convention of
    `recall_bench.kernels.plumbing.operator`; it may be a method of the mixer.
    """

    def __init__(
        self,
        x: Tensor,
        past: Mapping[str, Any] | None = None,
        *,
        keep: bool = False,
        seed: Tensor | None = None,
    ):
        self._x = x
        self._past = past
        self._keep = keep
        self._scope = ""
        self._used: set[str] = set()
        self._start: Tensor | None = None
        self.state: dict[str, Any] = {}
        """The state after the call; empty unless the call keeps it."""
        self.losses: dict[str, Tensor] = {}
        """The auxiliary losses that `loss` received, by name."""
        self.seed = seed
        """During training, an int64 tensor that changes every step and is safe in a CUDA graph;
        otherwise None. A mixer derives its random choices from it."""

    def __call__(
        self, name: str, operator: Callable[..., Any], *inputs: Any, **options: Any
    ) -> Any:
        """Run ``operator(*inputs, **options)`` from the state kept under ``name``.

        Raises `ValueError` if this call has used the name before, or the state has no such entry.
        """
        name = self._claim(name)
        if self._past is not None:
            options["initial_state"] = self._kept(name)
        if not self._keep:
            return operator(*inputs, **options)
        y, self.state[name] = operator(*inputs, **options, return_state=True)
        return y

    @property
    def start(self) -> Tensor:
        """Tokens that each sequence has seen before this call: (batch,) int64.

        A mixer that reads it carries eight more bytes of state per sequence.
        """
        if self._start is None:
            batch, length = self._x.shape[:2]
            if self._past is None:
                self._start = torch.zeros(batch, dtype=torch.int64, device=self._x.device)
            else:
                self._start = self._kept(START)
            if self._keep:
                self.state[START] = self._start + length
        return self._start

    def loss(self, name: str, value: Tensor) -> None:
        """Add ``value``, a scalar that the mixer has weighted itself, to the training objective."""
        name = self._scope + name
        if name in self.losses:
            raise ValueError(f"The loss {name!r} was given twice in one call of mix.")
        self.losses[name] = value

    @contextmanager
    def scope(self, prefix: str) -> Iterator[None]:
        """Prefix every name in the block with ``prefix.``: parallel branches may share code."""
        before = self._scope
        self._scope = f"{before}{prefix}."
        try:
            yield
        finally:
            self._scope = before

    def _claim(self, name: str) -> str:
        name = self._scope + name
        if name in self._used or name == START:
            reason = "is kept for carry.start" if name == START else "was used before in this call"
            raise ValueError(
                f"carry({name!r}, …): the name {reason} of mix. Give each operator a name of its "
                f"own, or put parallel branches into carry.scope."
            )
        self._used.add(name)
        return name

    def _kept(self, name: str) -> Any:
        assert self._past is not None
        if name not in self._past:
            names = ", ".join(self._past) or "nothing"
            raise ValueError(
                f"The state holds {names}, but mix asked for {name!r}. It must carry the same "
                f"names whatever its input is."
            )
        return self._past[name]
