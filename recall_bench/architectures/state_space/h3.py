"""H3: a shift and a diagonal state space model, joined by products of q, k and v."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from recall_bench.architectures.recipe import Architecture
from recall_bench.registry import register_architecture

if TYPE_CHECKING:
    from recall_bench.architectures.base import Mixer


@register_architecture("h3")
class H3(Architecture):
    """H3 layers, no others.

    Figure 2 of Based (arXiv 2402.18668): d_model 64, 128, 256, d_state = d_model / 4; the released
    configuration sets head_dim 2, which doubles the state.
    """

    d_state: int = Field(
        16, ge=2, le=4096, description="taps of the shift SSM and state size of the diagonal SSM"
    )
    head_dim: int = Field(1, ge=1, description="channels whose keys and values are multiplied")
    layers: str = Field("self+self", description="mixers from the bottom up, joined by '+'")

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.d_state % 2:
            raise ValueError(
                f"d_state must be even, a complex mode and its conjugate count as two. "
                f"Got {self.d_state}."
            )
        if self.d_model % self.head_dim:
            raise ValueError(
                f"head_dim must divide d_model={self.d_model}. Got head_dim={self.head_dim}."
            )
        return self

    def mixer(self) -> Mixer:
        from recall_bench.architectures.state_space.h3_layer import H3Mixer

        return H3Mixer(self.d_model, self.d_state, self.head_dim)
