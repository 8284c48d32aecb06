"""A layer you own: Mamba of mamba_ssm (arXiv 2312.00752); it needs a GPU.

recall-bench check examples/mamba_ssm_mamba.py
recall-bench sweep --plugin examples/mamba_ssm_mamba.py --arch mamba-ssm --d-state 4,16
"""

from recall_bench import register_architecture
from recall_bench.architectures import Architecture, CheckOn, Mixer
from recall_bench.architectures.adapters import installed, mamba_layer


@register_architecture("mamba-ssm")
class MambaSSM(Architecture):
    """Two layers of mamba_ssm's Mamba."""

    check_on = CheckOn("cuda", "fp32")  # its kernels run on a GPU, and not in float64
    layers: str = "self+self"
    d_state: int = 16
    expand: int = 2

    def mixer(self) -> Mixer:
        modules = installed("mamba_ssm", package="mamba-ssm")
        return mamba_layer(
            modules.Mamba(self.d_model, self.d_state, expand=self.expand, layer_idx=0)
        )
