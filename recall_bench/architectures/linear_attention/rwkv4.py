"""RWKV-4: a mean of all values so far with exponential weights, in each channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recall_bench.architectures.facts import Source
from recall_bench.architectures.recipe import Architecture
from recall_bench.registry import register_architecture

if TYPE_CHECKING:
    from recall_bench.architectures.base import Mixer


@register_architecture("rwkv4")
class RWKV4(Architecture):
    """RWKV-4's time mixing: a mean of all values so far, with a decay in each channel.

    Channel mixing is the backbone's MLP. Only ``d_model`` moves the state's size.
    """

    source = Source("RWKV: Reinventing RNNs for the Transformer Era", "2305.13048")
    marker = "h"
    grids = {"quick": [{"d_model": [16, 32]}], "figure2": [{"d_model": [64, 128, 256]}]}
    bench = {"figure2": {"d_model": 128}}

    def mixer(self) -> Mixer:
        from recall_bench.architectures.linear_attention.rwkv4_layer import RWKV4Mixer

        return RWKV4Mixer(self.d_model)
