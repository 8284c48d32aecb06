"""The recipe that turns knobs into a stack of mixers; it imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from recall_bench.architectures import stacking
from recall_bench.architectures.check_on import CheckOn
from recall_bench.architectures.facts import Facts
from recall_bench.architectures.layers import Layer, flatten, parse

if TYPE_CHECKING:
    from recall_bench.architectures.base import Mixer


class Architecture(Facts):
    """A named recipe: its fields are the knobs, `mixer` builds the layer it is named after.

    ``layers`` names the mixers from the bottom up, in the grammar of
    `recall_bench.architectures.layers`; ``self`` is this architecture's own. Another name stands
    for that architecture's mixer with its defaults, the knobs in its braces and this architecture's
    ``d_model``. Where the default ``layers`` name it too, it also takes the knobs that both share
    by name.
    """

    check_on: ClassVar[CheckOn] = CheckOn()
    """Where and in which precision `check` runs, such as ``CheckOn("cuda", "bf16")``."""

    d_model: int = Field(64, ge=1, le=65536, description="model width")
    layers: str = Field(
        "short-conv+self",
        description="mixers from the bottom up, such as 'mamba{d_state=8}+self*2'",
    )

    @field_validator("layers")
    @classmethod
    def _layers_have_their_knobs(cls, text: str) -> str:
        if text != cls.model_fields["layers"].default:
            stacking.check_knobs(cls, flatten(parse(text)))
        return text

    @model_validator(mode="after")
    def _layers_are_spelled_in_one_way(self) -> Self:
        if self.layers != type(self).model_fields["layers"].default:
            self.__dict__["layers"] = stacking.spell(self)  # frozen for everybody else
        return self

    def mixer(self) -> Mixer:
        """A fresh mixer of this architecture's own kind, with random weights.

        A signature ``mixer(self, layer=0, layers=1)`` is told the index of the layer, counted from
        the bottom, and the number of layers of the whole stack.
        """
        raise NotImplementedError

    def stack(self) -> list[tuple[str, Mixer]]:
        """The layers from the bottom up: (architecture name, fresh mixer)."""
        layers = self.stacked()
        return [
            (
                self.name if layer.name == "self" else layer.name,
                stacking.build(stacking.component(self, layer), index, len(layers)),
            )
            for index, layer in enumerate(layers)
        ]

    def windows(self) -> list[int | None]:
        """How many tokens each layer sees, from the bottom up; None for a layer without a limit."""
        parts = [stacking.component(self, layer) for layer in self.stacked()]
        return [getattr(part, part.window_knob) if part.window_knob else None for part in parts]

    def stacked(self) -> list[Layer]:
        """The layers from the bottom up, as they are named, with the knobs of their braces."""
        return flatten(parse(self.layers))

    def layer_names(self) -> list[str]:
        """The names of the layers from the bottom up."""
        return [layer.name for layer in self.stacked()]
