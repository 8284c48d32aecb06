"""Feature maps phi of linear attention, whose products phi(q).phi(k) are the scores.

Scores of elu, cosformer, performer and hedgehog, and of polynomials of even degree, are never
negative (cosformer: up to its horizon), so that they may be divided by their sum.
"""

import math
from collections import Counter
from itertools import combinations_with_replacement

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recall_bench.architectures.pieces.precision import at_least_float32


class FeatureMap(nn.Module):
    """q, k (batch, length, heads, d) -> features (batch, length, heads, size) of both.

    ``positions`` (batch, length) are needed if ``uses_positions``. The features are float32 or
    wider.
    """

    uses_positions = False

    def forward(
        self, q: Tensor, k: Tensor, positions: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return self.features(at_least_float32(q)), self.features(at_least_float32(k))

    def features(self, x: Tensor) -> Tensor:
        """phi(x) of maps that treat queries and keys alike and ignore positions."""
        raise NotImplementedError


class Elu(FeatureMap):
    """elu(x) + 1 (arXiv 2006.16236, equation 7)."""

    def features(self, x: Tensor) -> Tensor:
        return F.elu(x) + 1


class Identity(FeatureMap):
    """x d^(-1/4): the score is q.k / sqrt(d)."""

    def features(self, x: Tensor) -> Tensor:
        return x * x.shape[-1] ** -0.25


class Polynomial(FeatureMap):
    """The score is (1 + q.k / sqrt(d))^p; equal products are kept once, C(d + p, p) features."""

    index: Tensor
    weight: Tensor

    def __init__(self, d: int, degree: int):
        super().__init__()
        factors = list(combinations_with_replacement(range(d + 1), degree))
        orders = [
            math.factorial(degree) // math.prod(map(math.factorial, Counter(f).values()))
            for f in factors
        ]
        self.register_buffer("index", torch.tensor(factors).mT.contiguous(), persistent=False)
        self.register_buffer(
            "weight", torch.tensor(orders, dtype=torch.get_default_dtype()).sqrt(), persistent=False
        )

    def features(self, x: Tensor) -> Tensor:
        x = torch.cat([torch.ones_like(x[..., :1]), x * x.shape[-1] ** -0.25], -1)
        product = x[..., self.index[0]] * self.weight
        for index in self.index[1:]:
            product = product * x[..., index]
        return product


class CosFormer(FeatureMap):
    """relu(q).relu(k) cos(pi (i - j) / 2 M) (arXiv 2202.08791, section 3.2), M the horizon.

    The paper's M is the length of the sequence. Decoding does not know it, so M is a constant.
    """

    uses_positions = True

    def __init__(self, horizon: int):
        super().__init__()
        self.horizon = horizon

    def forward(
        self, q: Tensor, k: Tensor, positions: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        assert positions is not None
        q, k = F.relu(at_least_float32(q)), F.relu(at_least_float32(k))
        angles = (positions.to(q.dtype) * (math.pi / 2 / self.horizon))[..., None, None]
        cos, sin = angles.cos(), angles.sin()
        return torch.cat([q * cos, q * sin], -1), torch.cat([k * cos, k * sin], -1)


class Performer(FeatureMap):
    """exp(w.x - |x|^2 / 2) of d random w (arXiv 2009.14794, lemma 1), x := x d^(-1/4).

    The w are orthogonal and sqrt(d) long, the paper's regularised softmax kernel, and fixed after
    the start. Subtracting d/2 in the exponent keeps every feature below 1 and cancels in the
    quotient; the released code subtracts a maximum over all keys, which would show the future. As
    many features as channels is our choice.
    """

    directions: Tensor

    def __init__(self, d: int):
        super().__init__()
        orthogonal, _ = torch.linalg.qr(torch.randn(d, d))
        self.register_buffer("directions", orthogonal * d**0.5)

    def features(self, x: Tensor) -> Tensor:
        x = x * x.shape[-1] ** -0.25
        length = x.square().sum(-1, keepdim=True) + x.shape[-1]
        return torch.exp(x @ self.directions.to(x.dtype) - length / 2)


class Hedgehog(FeatureMap):
    """softmax of [W x, -W x] (arXiv 2402.04347, section 4.2), a W for queries and one for keys.

    Each head has its own W, which starts as the identity.
    """

    def __init__(self, heads: int, d: int):
        super().__init__()
        self.weight = nn.Parameter(torch.eye(d).repeat(2, heads, 1, 1))  # (2, H, d, d)

    def forward(
        self, q: Tensor, k: Tensor, positions: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        mapped = (
            torch.einsum("blhd,hed->blhe", at_least_float32(x), W.to(at_least_float32(x).dtype))
            for x, W in zip((q, k), self.weight, strict=True)
        )
        q, k = (torch.cat([x, -x], -1).softmax(-1) for x in mapped)
        return q, k


def feature_map(name: str, heads: int, d: int, degree: int, horizon: int) -> FeatureMap:
    """The map called ``name`` for queries and keys of ``d`` channels in each head."""
    if name == "polynomial":
        return Polynomial(d, degree)
    if name == "cosformer":
        return CosFormer(horizon)
    if name == "performer":
        return Performer(d)
    if name == "hedgehog":
        return Hedgehog(heads, d)
    return {"elu": Elu, "identity": Identity}[name]()
