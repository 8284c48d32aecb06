"""The block of the published code: a second norm follows each mixer, and joins the stream as well.

zoology puts an identity where its blocks could have an MLP, behind a norm and before a sum. That is
a layer of our backbone whose mixer hands on what it gets, `--layers self+identity+self+identity`.
`variants.sh` trains Based and H3 so.
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
