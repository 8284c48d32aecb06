"""Mamba with the initialisation and the weight decay of the published code.

zoology draws the linear maps of every model from a normal of 0.02, those that end a branch from a
normal of 0.01, and sets their biases to zero. It also does so for Mamba, which has an
initialisation of its own. Weight decay applies to all parameters. Its Mamba blocks have RMSNorm
and, unlike its others, no dropout on embeddings: `variants.sh` passes `--norm rmsnorm
--embedding-dropout 0`.
"""

import torch
from torch import nn

from recall_bench import register_architecture
from recall_bench.architectures.state_space.mamba import Mamba
from recall_bench.architectures.state_space.mamba_layer import MambaMixer


class ZoologyMixer(MambaMixer):
    """Our layer with another initialisation, and weight decay on A and D."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        with torch.no_grad():
            for linear in (self.in_proj, self.x_proj, self.out_proj, self.dt_proj):
                nn.init.normal_(linear.weight, std=0.01 if linear is self.out_proj else 0.02)
            nn.init.zeros_(self.dt_proj.bias)
        del self.A_log._no_weight_decay, self.D._no_weight_decay


@register_architecture("mamba-zoology")
class ZoologyMamba(Mamba):
    """Mamba with the initialisation of the published code."""

    def mixer(self):
        return ZoologyMixer(self.d_model, self.d_state, self.d_conv, self.expand)
