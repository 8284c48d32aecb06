"""Tokens for the empty positions of the MQAR family."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import Field

from recall_bench.lazy import torch
from recall_bench.tasks.tools.sampling import choose_outside

if TYPE_CHECKING:
    from torch import Generator, Tensor

Filler: TypeAlias = Annotated[
    Literal["distinct", "any", "zero"],
    Field(description="tokens at empty positions: no key of the row, any (as Zoology), or zero"),
]


def fill(
    filler: Filler, keys: Tensor, vocab_size: int, length: int, generator: Generator
) -> Tensor | int:
    """Tokens for ``length`` empty positions: (B, length) or one number for all.

    ``keys`` are the distinct keys of each row, (B, D). Zoology's "any" may repeat one of them,
    which reads as a pair with another value; "distinct" is uniform over the rest.
    """
    if filler == "zero":
        return 0
    if filler == "any":
        return torch.randint(vocab_size, (len(keys), length), generator=generator)
    return choose_outside(keys, vocab_size, length, generator)
