"""A module you own that has only `forward`: PyTorch's GRU. It is trained and scored.

Nobody can measure what such a module would carry from token to token, so you say it, or leave
`state_bytes` out: the point is then drawn as not measured.

recall-bench check examples/plain_gru.py
recall-bench sweep --plugin examples/plain_gru.py --arch plain-gru --d-model 32,64
"""

from torch import nn

from recall_bench import register_architecture
from recall_bench.architectures import Architecture, Mixer
from recall_bench.architectures.adapters import plain_module


@register_architecture("plain-gru")
class PlainGRU(Architecture):
    """Short convolution + a GRU; the state is its hidden vector."""

    def mixer(self) -> Mixer:
        gru = nn.GRU(self.d_model, self.d_model, batch_first=True)
        return plain_module(gru, state_bytes=4 * self.d_model)  # float32
