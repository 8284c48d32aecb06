"""H3 as in the published code: the shift also learns its B, and weight decay applies to everything.

With B the shift's kernel is sum_m B_m C_{m+n}; B is initialised as e_1, which gives our layer.
`variants.sh` trains it in the published block.
"""

import torch
from torch import nn
from torch.nn import functional as F

from recall_bench import register_architecture
from recall_bench.architectures.state_space.h3 import H3
from recall_bench.architectures.state_space.h3_layer import H3Mixer


class ZoologyMixer(H3Mixer):
    """Our layer with the shift's B, and weight decay on all parameters."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.shift_B = nn.Parameter(torch.zeros_like(self.shift_C))
        with torch.no_grad():
            self.shift_B[:, 0] = 1
        for parameter in (self.log_dt, self.log_A_real, self.A_imag, self.B):
            del parameter._no_weight_decay

    def _taps(self):
        n = self.shift_C.shape[1]
        later = F.pad(self.shift_C, (0, n - 1)).unfold(1, n, 1)  # (d, N, N): C_{n+m}
        kernel = (later * self.shift_B[:, None]).sum(-1)
        return (kernel + F.pad(self.shift_D[:, None], (0, n - 1))).to(self._dtype)


@register_architecture("h3-zoology")
class ZoologyH3(H3):
    """H3 with a learned B of the shift and weight decay on all parameters."""

    def mixer(self):
        return ZoologyMixer(self.d_model, self.d_state, self.head_dim)
