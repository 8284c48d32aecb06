"""The recipe that turns knobs into a stack of mixers; imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from recall_bench.architectures import stacking
from recall_bench.architectures.check_on import CheckOn
from recall_bench.architectures.facts import Facts
from recall_bench.architectures.layer_grammar import Layer, flatten, parse

if TYPE_CHECKING:
    from recall_bench.architectures.base import Mixer


class Architecture(Facts):
    """A named recipe: its fields are the knobs, and `mixer` builds the layer it is named after.

    The class also holds the facts of `recall_bench.architectures.facts`: source, marker, and the
    sizes that presets and suites run.

    ``layers`` names the mixers from the bottom up, in the grammar of
    `recall_bench.architectures.layer_grammar`; ``self`` is this architecture's own mixer. Another
    name stands for that architecture's mixer with its defaults, the knobs in its braces and this
    architecture's ``d_model``. If the default ``layers`` contain that name, the layer also takes
    the knobs that both architectures share by name.
    """

    check_on: ClassVar[CheckOn] = CheckOn()
    """The device and precision of `check`, such as ``CheckOn("cuda", "bf16")``."""

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

        Usually a `recall_bench.architectures.Recurrence`, which writes ``mix(x, carry)`` and
        ``finish``; any `recall_bench.architectures.Mixer` will do. To keep the recipe free of
        torch, write the mixer in ``<name>_layer.py`` and import it inside this method.

        A signature ``mixer(self, layer=0, layers=1)`` receives the index of the layer, counted
        from the bottom, and the number of layers of the whole stack. A parameter ``recipe``
        receives "default", "published" or "authors" (see `facts.Recipe`).
        """
        raise NotImplementedError

    def stack(self, recipe: str = "default") -> list[tuple[str, Mixer]]:
        """Build the layers, from the bottom up: (architecture name, fresh mixer)."""
        layers = self.parsed_layers()
        return [
            (
                self.name if layer.name == "self" else layer.name,
                stacking.build(stacking.component(self, layer), index, len(layers), recipe),
            )
            for index, layer in enumerate(layers)
        ]

    def windows(self) -> list[int | None]:
        """How many tokens each layer sees, from the bottom up; None for a layer without a limit."""
        parts = [stacking.component(self, layer) for layer in self.parsed_layers()]
        return [getattr(part, part.window_knob) if part.window_knob else None for part in parts]

    def parsed_layers(self) -> list[Layer]:
        """The entries of ``layers`` from the bottom up, repeats written out."""
        return flatten(parse(self.layers))

    def layer_names(self) -> list[str]:
        """The names of the layers from the bottom up."""
        return [layer.name for layer in self.parsed_layers()]
