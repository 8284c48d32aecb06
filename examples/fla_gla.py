"""A layer you own: gated linear attention of flash-linear-attention (arXiv 2312.06635); a GPU.

recall-bench check examples/fla_gla.py
recall-bench sweep --plugin examples/fla_gla.py --arch fla-gla --expand-k 0.5,1.0
"""

from recall_bench import register_architecture
from recall_bench.architectures import Architecture, CheckOn, Mixer
from recall_bench.architectures.adapters import fla_layer, installed


@register_architecture("fla-gla")
class GLA(Architecture):
    """Short convolution + fla's GatedLinearAttention."""

    check_on = CheckOn("cuda", "fp32")  # its kernels run on a GPU, and not in float64
    num_heads: int = 1
    expand_k: float = 0.5
    expand_v: float = 1.0

    def mixer(self) -> Mixer:
        knobs = self.model_dump(include={"num_heads", "expand_k", "expand_v"})
        layers = installed("fla.layers", package="flash-linear-attention")
        gla = layers.GatedLinearAttention(hidden_size=self.d_model, layer_idx=0, **knobs)
        return fla_layer(gla)
