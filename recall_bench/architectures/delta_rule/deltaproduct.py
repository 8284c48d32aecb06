"""Gated DeltaProduct: several delta rules a token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from recall_bench.architectures.delta_rule.gated_deltanet import GatedDeltaNet
from recall_bench.architectures.facts import Source
from recall_bench.registry import register_architecture

if TYPE_CHECKING:
    from recall_bench.architectures.base import Mixer


@register_architecture("deltaproduct")
class DeltaProduct(GatedDeltaNet):
    """Several delta rules a token, one after another, on a state that decays once a token.

    Their product turns the state as one rule cannot; the state itself is gated DeltaNet's.
    """

    source = Source(
        "DeltaProduct: Improving State-Tracking in Linear RNNs via Householder Products",
        "2502.10297",
    )
    marker = "P"
    grids = {
        "quick": [{"d_model": [32], "num_heads": [1, 2, 4]}],
        "figure2": [{"d_model": [64, 128, 256]}],
    }
    suites = {"recall": {}, "mad": {}, "quick": {}}
    bench = {"figure2": {"d_model": 128}}

    writes: int = Field(2, ge=1, le=64, description="delta rules, each with its own k, v and beta")
    decay: bool = Field(True, description="whether the state decays; without it, DeltaProduct")
    negative_eigenvalues: bool = Field(
        True, description="whether beta reaches 2, so that a write may flip what it removes"
    )

    def mixer(self) -> Mixer:
        return self._mixer(writes=self.writes, decay=self.decay)
