"""Reading a whole sequence back from the hidden vector of its last token: MAD's autoencoder.

MAD (2403.17844, compression task) trains a mixer as an encoder: a decoder receives only the vector
at the last position and adds the encoding of the position to read. The decoder is an MLP that sees
no other position, so the encoder must have compressed the whole sequence into that vector. Layers
and sizes are those of the authors' code: fixed sines and cosines for positions, two layers of
(norm, linear, GELU) as wide as the model, then a norm and a linear head that is not tied to the
embedding.

Shapes: B batch, Q positions to read, D width, V vocabulary.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SequenceReadout(nn.Module):
    """(last hidden vector, positions) -> logits at those positions."""

    frequencies: Tensor  # (D // 2,)

    def __init__(self, width: int, tokens: int, norms: tuple[nn.Module, nn.Module, nn.Module]):
        super().__init__()
        half = width // 2
        rates = torch.exp(torch.arange(half) * -(math.log(10_000) / max(half - 1, 1)))
        self.register_buffer("frequencies", rates, persistent=False)
        self.width = width
        first, second, last = norms
        self.decoder = nn.Sequential(
            first,
            nn.Linear(width, width),
            nn.GELU(),
            second,
            nn.Linear(width, width),
            nn.GELU(),
            last,
            nn.Linear(width, tokens),
        )

    def forward(self, last: Tensor, positions: Tensor) -> Tensor:
        """Vectors (B, D) and positions (B, Q) -> logits (B, Q, V)."""
        angles = positions.unsqueeze(-1) * self.frequencies  # (B, Q, D // 2)
        encoding = torch.cat([angles.sin(), angles.cos()], -1)
        encoding = F.pad(encoding, (0, self.width % 2)).to(last.dtype)  # (B, Q, D)
        logits: Tensor = self.decoder(last.unsqueeze(1) + encoding)
        return logits
