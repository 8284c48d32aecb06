"""The block of the published code, which adds the normed stream to the stream after each mixer.

zoology has an identity in the place of its blocks' MLP, between a norm and a sum. In our backbone
that is a layer whose mixer returns its input: `--layers self+identity+self+identity`. `variants.sh`
trains Based and H3 with it.
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
    """Makes `identity` available in `--layers`."""

    def mixer(self):
        return Identity()
