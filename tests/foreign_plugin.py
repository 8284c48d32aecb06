"""A plugin file whose architectures wrap layers that follow other packages' conventions."""

from foreign_layers import FlaLinearAttention, SsmLayer
from torch import nn

from recall_bench import register_architecture
from recall_bench.architectures import Architecture, Mixer
from recall_bench.architectures.adapters import fla_layer, mamba_layer, plain_module


class Wrapping(Architecture):
    d_model: int = 16
    layers: str = "short-conv+self"


@register_architecture("fla-like")
class FlaLike(Wrapping):
    """A layer called as fla's are."""

    num_heads: int = 2

    def mixer(self) -> Mixer:
        return fla_layer(FlaLinearAttention(self.d_model, self.num_heads, layer_idx=0))


@register_architecture("mamba-like")
class MambaLike(Wrapping):
    """A layer called as mamba_ssm's are."""

    d_state: int = 4

    def mixer(self) -> Mixer:
        return mamba_layer(SsmLayer(self.d_model, self.d_state, layer_idx=0))


@register_architecture("gru")
class Gru(Wrapping):
    """A module that has only forward, whose bytes its author states."""

    def mixer(self) -> Mixer:
        gru = nn.GRU(self.d_model, self.d_model, batch_first=True)
        return plain_module(gru, state_bytes=4 * self.d_model)


@register_architecture("unmeasured-gru")
class UnmeasuredGru(Wrapping):
    """The same, with bytes that nobody states."""

    def mixer(self) -> Mixer:
        return plain_module(nn.GRU(self.d_model, self.d_model, batch_first=True))
