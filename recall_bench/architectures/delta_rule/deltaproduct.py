"""Gated DeltaProduct: several delta rules a token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from recall_bench.architectures.delta_rule.gated_deltanet import check_keys
from recall_bench.architectures.facts import Source
from recall_bench.architectures.recipe import Architecture
from recall_bench.registry import register_architecture

if TYPE_CHECKING:
    from recall_bench.architectures.base import Mixer


@register_architecture("deltaproduct")
class DeltaProduct(Architecture):
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
    num_heads: int = Field(2, ge=1, le=4096, description="heads, each with a state of its own")
    expand_k: float = Field(0.75, gt=0, le=64, description="width of a write's keys over d_model")
    expand_v: int = Field(2, ge=1, le=64, description="width of a value over that of a key")
    kernel_size: int = Field(4, ge=1, le=64, description="kernel size of the short convolutions")
    decay: bool = Field(True, description="whether the state decays; without it, DeltaProduct")
    gate: bool = Field(True, description="whether silu of a linear map of the input gates outputs")
    negative_eigenvalues: bool = Field(
        True, description="whether beta reaches 2, so that a write may flip what it removes"
    )

    @model_validator(mode="after")
    def _keys_fit(self) -> Self:
        check_keys(self.d_model, self.num_heads, self.expand_k)
        return self

    def mixer(self) -> Mixer:
        from recall_bench.architectures.delta_rule.gated_deltanet_layer import GatedDeltaNetMixer

        d_k = round(self.expand_k * self.d_model / self.num_heads)
        return GatedDeltaNetMixer(
            self.d_model,
            self.num_heads,
            d_k,
            self.expand_v * d_k,
            self.kernel_size,
            writes=self.writes,
            decay=self.decay,
            gate=self.gate,
            beta_limit=2.0 if self.negative_eigenvalues else 1.0,
        )
