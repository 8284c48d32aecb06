"""A mixer under test: how to make it, and which inputs it gets."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from recall_bench.architectures import Architecture, Mixer, State

NOISE = 0.02
"""Spread of what is added to all parameters: nothing hides behind weights that start at 0."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator, and put it back as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@dataclass(frozen=True)
class MixerSubject:
    """Makes fresh mixers with equal weights, and inputs (batch, length, width) for them."""

    make: Callable[[], Mixer]
    width: int
    length: int
    batch: int
    seed: int
    tolerance: float

    def mixer(self, dtype: torch.dtype = torch.float64) -> Mixer:
        """A fresh mixer in evaluation mode; the same weights each time, in the given dtype."""
        with seeded(self.seed), torch.no_grad():
            mixer = self.make().to(torch.float64).eval()
            for parameter in mixer.parameters():
                parameter.add_(NOISE * torch.randn_like(parameter))
        return mixer.to(dtype)

    def inputs(
        self, stream: int = 0, length: int | None = None, dtype: torch.dtype = torch.float64
    ) -> Tensor:
        """Standard normal inputs; another stream is another set of sequences."""
        generator = torch.Generator().manual_seed(1000 * self.seed + stream)
        shape = (self.batch, self.length, self.width)
        x = torch.randn(shape, generator=generator, dtype=torch.float64)
        return x[:, : length or self.length].to(dtype)


def scan(mixer: Mixer, x: Tensor, state: State) -> tuple[Tensor, State]:
    """Step through (batch, length, width) from ``state``: outputs and the state after."""
    outputs = []
    for token in x.unbind(1):
        y, state = mixer.step(token, state)
        outputs.append(y)
    return torch.stack(outputs, 1), state


def layers_to_check(architecture: Architecture) -> dict[str, Callable[[], Mixer]]:
    """The architecture's own mixer; where its layers do not contain that, each distinct layer."""
    names = [name for name, _ in architecture.stack()]
    own = architecture.name or "self"
    if own in names:
        return {own: architecture.mixer}

    def layer(index: int) -> Callable[[], Mixer]:
        return lambda: architecture.stack()[index][1]

    return {name: layer(names.index(name)) for name in dict.fromkeys(names)}
