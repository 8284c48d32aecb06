"""A plugin with the smallest task and architecture that a sweep can carry, without torch."""

from pydantic import Field

from recall_bench import register_architecture, register_task
from recall_bench.architectures import Architecture
from recall_bench.config import Component


@register_task("toy")
class Toy(Component):
    length: int = Field(8, description="tokens an example, even")

    def segments(self, split: str) -> tuple[int, ...]:
        if self.length % 2:
            raise ValueError(f"length must be even. Got {self.length}")
        return (self.length,)


@register_architecture("toy-mixer")
class ToyMixer(Architecture):
    window: int = Field(4, description="at most 64, which the mixer checks")

    def stack(self) -> list[tuple[str, None]]:
        if self.window > 64:
            raise ValueError(f"window must be at most 64. Got {self.window}")
        return [(self.name, None)]
