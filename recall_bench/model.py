"""The one backbone: embedding, N x (norm, mixer, [norm, MLP]), norm, tied head.

Shapes: B batch, L length, D width, V vocabulary.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recall_bench.architectures import Architecture, Mixer, State
from recall_bench.config import ModelConfig, RunConfig
from recall_bench.readout import SequenceReadout

INIT_STD = 0.02


class MLP(nn.Module):
    """SwiGLU, as in the Based paper's language models."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * value)


class Layer(nn.Module):
    """Pre-norm residual block around a mixer, with an MLP if asked for."""

    def __init__(self, mixer: Mixer, width: int, config: ModelConfig):
        super().__init__()
        self.mixer = mixer
        self.norm = make_norm(config, width)
        self.mlp = None
        if config.mlp_ratio:
            self.mlp_norm = make_norm(config, width)
            self.mlp = MLP(width, round(config.mlp_ratio * width))

    def forward(self, x: Tensor) -> Tensor:
        return self._mlp(x + self.mixer(self.norm(x)))

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, state = self.mixer.step(self.norm(x), state)
        return self._mlp(x + y), state

    def prefill(self, x: Tensor) -> tuple[Tensor, State]:
        y, state = self.mixer.prefill(self.norm(x))
        return self._mlp(x + y), state

    def _mlp(self, x: Tensor) -> Tensor:
        return x if self.mlp is None else x + self.mlp(self.mlp_norm(x))


class Model(nn.Module):
    """A language model over ``tokens`` symbols whose layers are an architecture's stack.

    With the readout "sequence" it is an encoder: ``sequence_readout`` gives the logits.
    """

    def __init__(
        self,
        architecture: Architecture,
        config: ModelConfig,
        tokens: int,
        readout: Literal["token", "sequence"] = "token",
    ):
        super().__init__()
        width = architecture.d_model
        stack = architecture.stack()
        self.layer_names = [f"{index}.{name}" for index, (name, _) in enumerate(stack)]
        self.embedding = nn.Embedding(tokens, width)
        self.dropout = nn.Dropout(config.embedding_dropout)
        layers = [Layer(mixer, width, config) for _, mixer in stack]
        self.layers: list[Layer] = cast(list[Layer], nn.ModuleList(layers))
        self.norm = make_norm(config, width)
        self.sequence_readout: SequenceReadout | None = None
        if readout == "sequence":  # its decoder begins with a norm of its own
            self.norm = nn.Identity()
            norms = (make_norm(config, width), make_norm(config, width), make_norm(config, width))
            self.sequence_readout = SequenceReadout(width, tokens, norms)
        self.apply(initialise)

    def forward(self, inputs: Tensor) -> Tensor:
        """Tokens (B, L) -> hidden vectors (B, L, D); `logits` turns those into scores."""
        x = self.dropout(self.embedding(inputs))
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """(…, D) -> (…, V), by the embedding matrix. Call it at labelled positions only."""
        return F.linear(hidden, self.embedding.weight)

    def initial_state(self, batch_size: int) -> dict[str, State]:
        """What decoding starts from, by layer name."""
        return {
            name: layer.mixer.initial_state(batch_size)
            for name, layer in zip(self.layer_names, self.layers, strict=True)
        }

    def step(self, tokens: Tensor, state: dict[str, State]) -> tuple[Tensor, dict[str, State]]:
        """Tokens (B,) and a state -> hidden vectors (B, D) and the next state."""
        x, new_state = self.dropout(self.embedding(tokens)), {}
        for name, layer in zip(self.layer_names, self.layers, strict=True):
            x, new_state[name] = layer.step(x, state[name])
        return self.norm(x), new_state

    def prefill(self, inputs: Tensor) -> tuple[Tensor, dict[str, State]]:
        """Tokens (B, L) -> hidden vectors (B, L, D) and the state after the last token."""
        x, state = self.dropout(self.embedding(inputs)), {}
        for name, layer in zip(self.layer_names, self.layers, strict=True):
            x, state[name] = layer.prefill(x)
        return self.norm(x), state


def make_norm(config: ModelConfig, width: int) -> nn.Module:
    """The normalisation that the configuration names, eps 1e-5."""
    return (nn.LayerNorm if config.norm == "layernorm" else nn.RMSNorm)(width, eps=1e-5)


def initialise(module: nn.Module) -> None:
    """Normal(0, 0.02) for linear maps and embeddings, zero for their biases.

    A parameter with the attribute ``_no_reinit`` keeps the initialisation of its own mixer.
    """
    if not isinstance(module, nn.Linear | nn.Embedding):
        return
    if not hasattr(module.weight, "_no_reinit"):
        nn.init.normal_(module.weight, std=INIT_STD)
    bias = getattr(module, "bias", None)
    if bias is not None and not hasattr(bias, "_no_reinit"):
        nn.init.zeros_(bias)


def build_model(config: RunConfig) -> Model:
    """The model of a run: the same weights for a seed whatever the device, drawn on the CPU."""
    with isolated_rng(config.seed):
        task = config.task
        return Model(config.architecture, config.model, task.tokens, task.readout)


@contextmanager
def isolated_rng(seed: int, device: str | torch.device = "cpu") -> Iterator[None]:
    """Run with PyTorch's generators seeded, and leave them as they were found."""
    device = torch.device(device)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
