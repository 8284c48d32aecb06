"""The recipe that turns knobs into a stack of mixers; it imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from recall_bench import registry
from recall_bench.config import Component
from recall_bench.errors import UserError

if TYPE_CHECKING:
    from recall_bench.architectures.base import Mixer


class Architecture(Component):
    """A named recipe: its fields are the knobs, `mixer` builds the layer it is named after.

    ``layers`` names the mixers from the bottom up, joined by ``+``; ``self`` is this architecture's
    own. Another name stands for that architecture's mixer, built with its defaults and the knobs
    that both share by name.
    """

    d_model: int = Field(64, ge=1, le=65536, description="model width")
    layers: str = Field("short-conv+self", description="mixers from the bottom up, joined by '+'")

    def mixer(self) -> Mixer:
        """A fresh mixer of this architecture's own kind, with random weights."""
        raise NotImplementedError

    def stack(self) -> list[tuple[str, Mixer]]:
        """The layers from the bottom up: (architecture name, fresh mixer)."""
        return [
            (self.name if name == "self" else name, self._layer(name))
            for name in self.layer_names()
        ]

    def layer_names(self) -> list[str]:
        """The entries of ``layers``; raises `UserError` where one is empty."""
        names = [name.strip() for name in self.layers.split("+")]
        if not all(names):
            raise UserError(
                f"layers={self.layers!r} has an empty entry. Expected names joined by '+', "
                f"such as 'short-conv+self'."
            )
        return names

    def _layer(self, name: str) -> Mixer:
        if name in ("self", self.name):
            return self.mixer()
        cls = registry.architectures.get(name)
        shared = (cls.model_fields.keys() & type(self).model_fields.keys()) - {"layers"}
        return cls(**{knob: getattr(self, knob) for knob in shared}).mixer()
