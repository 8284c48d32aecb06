"""A mixer under test: builds it and its inputs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from recall_bench.architectures import Architecture, CheckOn, Mixer, State
from recall_bench.testing.report import NotOffered

NOISE = 0.02
"""Standard deviation of the noise added to all parameters: weights that start at 0 hide errors."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generators for the block, and restore them afterwards."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


@dataclass(frozen=True)
class MixerSubject:
    """Makes fresh mixers with equal weights, and inputs (batch, length, width) for them.

    ``on`` decides the device, the precision and the tolerance.
    """

    make: Callable[[], Mixer]
    width: int
    length: int
    batch: int
    seed: int
    on: CheckOn

    @property
    def device(self) -> torch.device:
        return torch.device(self.on.device)

    @property
    def tolerance(self) -> float:
        return self.on.allowed

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of weights and inputs in comparisons."""
        return torch.float64 if self.on.precision == "fp64" else torch.float32

    def mixer(self, dtype: torch.dtype | None = None) -> Mixer:
        """A fresh mixer in evaluation mode, with the same weights every time."""
        with seeded(self.seed), torch.no_grad():
            mixer = self.make().to(torch.float64).eval()
            for parameter in mixer.parameters():
                parameter.add_(NOISE * torch.randn_like(parameter))
        return mixer.to(dtype=dtype or self.dtype, device=self.device)

    def decoder(self, dtype: torch.dtype | None = None) -> Mixer:
        """The same, but raises `NotOffered` if the mixer has no recurrent form."""
        mixer = self.mixer(dtype)
        if not mixer.recurrent:
            raise NotOffered("the mixer has only forward")
        return mixer

    def inputs(
        self, stream: int = 0, length: int | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """Standard normal inputs; another stream gives other sequences."""
        generator = torch.Generator().manual_seed(1000 * self.seed + stream)
        shape = (self.batch, self.length, self.width)
        x = torch.randn(shape, generator=generator, dtype=torch.float64)
        return x[:, : length or self.length].to(dtype=dtype or self.dtype, device=self.device)


def scan(mixer: Mixer, x: Tensor, state: State) -> tuple[Tensor, State]:
    """Step through (batch, length, width) from ``state``: outputs and the state after."""
    outputs = []
    for token in x.unbind(1):
        y, state = mixer.step(token, state)
        outputs.append(y)
    return torch.stack(outputs, 1), state


def layers_to_check(architecture: Architecture) -> dict[str, Callable[[], Mixer]]:
    """The architecture's own mixer, or each distinct layer if its layers do not contain it."""
    layers = distinct_layers(architecture)
    own = architecture.name or "self"
    return {own: layers[own]} if own in layers else layers


def distinct_layers(architecture: Architecture) -> dict[str, Callable[[], Mixer]]:
    """The first layer of each name, as a function that builds a fresh one."""
    names = [name for name, _ in architecture.stack()]

    def layer(index: int) -> Callable[[], Mixer]:
        return lambda: architecture.stack()[index][1]

    return {name: layer(names.index(name)) for name in dict.fromkeys(names)}
