"""The positions of a batch sorted by token, along which an embedding's gradient is summed."""

from typing import NamedTuple

import torch
from torch import Tensor

PIECE = 128
"""The most positions that one program sums, so that frequent tokens do not delay the others."""


class TokenOrder(NamedTuple):
    """Positions sorted by token, in pieces of at most `PIECE` that are summed separately.

    P positions, V tokens. The first piece of a token has no number; further pieces are numbered
    across all tokens.
    """

    positions: Tensor  # (P,) int32, sorted by token, stable
    starts: Tensor  # (V + 1,) int32: positions[starts[v] : starts[v + 1]] hold token v
    piece_starts: Tensor  # (V + 1,) int32: further pieces of the tokens before v
    piece_tokens: Tensor  # (P // PIECE,) int32: the token of a further piece, V if none


def token_order(tokens: Tensor, vocabulary: int) -> TokenOrder:
    """Sort tokens (integers of any shape, 0 … vocabulary - 1) once for all their backward passes.

    The shapes depend only on the numbers of tokens, so that nothing waits for the device.
    """
    ordered, positions = tokens.flatten().sort(stable=True)
    every = torch.arange(vocabulary + 1, device=tokens.device)
    starts = torch.searchsorted(ordered, every.to(ordered.dtype), out_int32=True)
    further = (starts.diff() - 1).clamp(min=0) // PIECE
    piece_starts = torch.zeros_like(starts)
    piece_starts[1:] = further.cumsum(0)
    pieces = torch.arange(tokens.numel() // PIECE, dtype=torch.int32, device=tokens.device)
    piece_tokens = torch.searchsorted(piece_starts[1:], pieces, right=True, out_int32=True)
    return TokenOrder(positions.int(), starts, piece_starts, piece_tokens)
