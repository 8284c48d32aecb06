"""Gated DeltaNet: the delta rule on a state that decays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, model_validator

from recall_bench.architectures.facts import Source
from recall_bench.architectures.recipe import Architecture
from recall_bench.registry import register_architecture

if TYPE_CHECKING:
    from recall_bench.architectures.base import Mixer


@register_architecture("gated-deltanet")
class GatedDeltaNet(Architecture):
    """The delta rule on a state that decays by a learned, input-dependent factor in each head.

    Zoology sweeps it with two heads, keys as wide as the model, and no output gate.
    """

    source = Source("Gated Delta Networks: Improving Mamba2 with Delta Rule", "2412.06464")
    marker = "s"
    grids = {
        "quick": [{"d_model": [32], "num_heads": [1, 2, 4]}],
        "figure2": [{"d_model": [64, 128, 256], "expand_k": [1.0], "gate": [False]}],
    }
    suites = {"recall": {}, "mad": {}, "quick": {}}
    bench = {"figure2": {"d_model": 128, "expand_k": 1.0, "gate": False}}

    num_heads: int = Field(2, ge=1, le=4096, description="heads, each with a state of its own")
    expand_k: float = Field(0.75, gt=0, le=64, description="width of all keys over d_model")
    expand_v: int = Field(2, ge=1, le=64, description="width of a value over that of a key")
    kernel_size: int = Field(4, ge=1, le=64, description="kernel size of the short convolutions")
    gate: bool = Field(True, description="whether silu of a linear map of the input gates outputs")
    negative_eigenvalues: bool = Field(
        False, description="whether beta reaches 2, so that a write may flip what it removes"
    )

    @model_validator(mode="after")
    def _keys_fit(self) -> Self:
        check_keys(self.d_model, self.num_heads, self.expand_k)
        return self

    def mixer(self) -> Mixer:
        return self._mixer()

    def _mixer(self, **options: Any) -> Mixer:
        """The layer of these knobs, with further ``options`` of `GatedDeltaNetMixer`."""
        from recall_bench.architectures.delta_rule.gated_deltanet_layer import GatedDeltaNetMixer

        d_k = round(self.expand_k * self.d_model / self.num_heads)
        return GatedDeltaNetMixer(
            self.d_model,
            self.num_heads,
            d_k,
            self.expand_v * d_k,
            self.kernel_size,
            gate=self.gate,
            beta_limit=2.0 if self.negative_eigenvalues else 1.0,
            **options,
        )


def check_keys(d_model: int, num_heads: int, expand_k: float) -> None:
    """Raise `ValueError` unless a head's keys have a whole number of channels."""
    if expand_k * d_model % num_heads:
        raise ValueError(
            f"num_heads must divide the width of all keys, expand_k d_model = "
            f"{expand_k * d_model:g}. Got num_heads={num_heads}."
        )
