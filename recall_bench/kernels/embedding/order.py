"""The positions of a batch by token: what the gradient of an embedding is summed along."""

from typing import NamedTuple

import torch
from torch import Tensor

PIECE = 128
"""The most positions that one program sums, so that a frequent token does not take the longest."""


class TokenOrder(NamedTuple):
    """Positions sorted by token, and the pieces of at most `PIECE` of them that are summed apart.

    P positions, V tokens. The first piece of a token needs no number; its further ones are numbered
    through all tokens.
    """

    positions: Tensor  # (P,) int32, sorted by token, stable
    starts: Tensor  # (V + 1,) int32: positions[starts[v] : starts[v + 1]] hold token v
    piece_starts: Tensor  # (V + 1,) int32: further pieces of the tokens before v
    piece_tokens: Tensor  # (P // PIECE,) int32: the token of a further piece, V where there is none


def token_order(tokens: Tensor, vocabulary: int) -> TokenOrder:
    """Sort tokens (integers of any shape, 0 … vocabulary - 1) once for all their backward passes.

    Its shapes depend on the numbers of tokens alone, and nothing waits for the device.
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
