"""The block of the published code: a second norm follows each mixer, and joins the stream as well.

zoology puts an identity where its blocks could have an MLP, behind a norm and before a sum. That is
a layer of our backbone whose mixer hands on what it gets:

    recall-bench sweep --preset figure2 --plugin results/figure2/zoology_block.py --arch based \
        --layers short-conv+identity+taylor-attention+identity --d-model 48,64 --feature-dim 16,24
"""

from recall_bench import register_architecture
from recall_bench.architectures import Architecture, Mixer


class Identity(Mixer):
    """y = x, without parameters and without state."""

    def forward(self, x):
        return x

    def initial_state(self, batch_size):
        return {}

    def step(self, x, state):
        return x, state


@register_architecture("identity")
class IdentityArchitecture(Architecture):
    """A name for `layers`."""

    def mixer(self):
        return Identity()
