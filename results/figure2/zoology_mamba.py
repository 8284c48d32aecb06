"""Mamba as the published code begins and decays it.

zoology draws the linear maps of every model from a normal of 0.02, those that end a branch from a
half of that, and sets their biases to zero: of Mamba, whose own start has a meaning, too. All its
parameters decay. Its Mamba blocks have RMSNorm and, unlike its others, drop no embeddings: `--norm
rmsnorm --embedding-dropout 0`, as `variants.sh` has it.
"""

import torch
from torch import nn

from recall_bench import register_architecture
from recall_bench.architectures.state_space.mamba import Mamba
from recall_bench.architectures.state_space.mamba_layer import MambaMixer


class ZoologyMixer(MambaMixer):
    """The same layer from another start, with A and D decayed."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        with torch.no_grad():
            for linear in (self.in_proj, self.x_proj, self.out_proj, self.dt_proj):
                nn.init.normal_(linear.weight, std=0.01 if linear is self.out_proj else 0.02)
            nn.init.zeros_(self.dt_proj.bias)
        del self.A_log._no_weight_decay, self.D._no_weight_decay


@register_architecture("mamba-zoology")
class ZoologyMamba(Mamba):
    """Mamba, begun otherwise."""

    def mixer(self):
        return ZoologyMixer(self.d_model, self.d_state, self.d_conv, self.expand)
