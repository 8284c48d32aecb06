"""The backbone around the mixers: embedding, N x (norm, mixer, [norm, MLP]), norm, tied head.

With the block style "zoology" a block without MLP still has the second norm, whose output joins the
stream once more: the released code of Based and Zoology puts an identity in the place of the MLP.

Shapes: B batch, L length, D width, V vocabulary.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recall_bench.architectures import Architecture, Mixer, State
from recall_bench.config import ModelConfig, RunConfig
from recall_bench.kernels.add_norm import add_norm
from recall_bench.kernels.embedding import TokenOrder, embedding
from recall_bench.kernels.linear.module import Linear
from recall_bench.kernels.rows_at import rows_at
from recall_bench.kernels.swiglu import swiglu
from recall_bench.model.readout import SequenceReadout

INIT_STD = 0.02
NORM_EPS = 1e-5


class MLP(nn.Module):
    """SwiGLU, as in the Based paper's language models."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.up = Linear(width, 2 * hidden, bias=False)
        self.down = Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(swiglu(self.up(x)))


class Layer(nn.Module):
    """Pre-norm residual block around a mixer, with an MLP if configured."""

    def __init__(self, mixer: Mixer, width: int, config: ModelConfig):
        super().__init__()
        self.mixer = mixer
        self.norm = make_norm(config, width)
        self.mlp: nn.Module | None = None
        if config.mlp_ratio:
            self.mlp_norm = make_norm(config, width)
            self.mlp = MLP(width, round(config.mlp_ratio * width))
        elif config.block_style == "zoology":
            self.mlp_norm = make_norm(config, width)
            self.mlp = nn.Identity()

    def forward(
        self, x: Tensor, residual: Tensor | None, positions: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """This layer's output and the residual stream; ``x`` is the output of the layer below.

        ``positions`` (B, Q) restricts both to these positions.
        """
        normed, residual = normalise(self.norm, x, residual, positions)
        y = self.mixer(normed) if positions is None else self.mixer.at(normed, positions)
        return self._mlp(y, residual)

    def step(
        self, x: Tensor, residual: Tensor | None, state: State
    ) -> tuple[Tensor, Tensor, State]:
        normed, residual = normalise(self.norm, x, residual)
        y, state = self.mixer.step(normed, state)
        return *self._mlp(y, residual), state

    def prefill(
        self, x: Tensor, residual: Tensor | None, state: State | None
    ) -> tuple[Tensor, Tensor, State]:
        normed, residual = normalise(self.norm, x, residual)
        past = () if state is None else (state,)
        y, state = self.mixer.prefill(normed, *past)
        return *self._mlp(y, residual), state

    def _mlp(self, y: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        if self.mlp is None:
            return y, residual
        normed, residual = normalise(self.mlp_norm, y, residual)
        return self.mlp(normed), residual


class Model(nn.Module):
    """A language model over ``tokens`` symbols whose layers are an architecture's stack.

    ``dropout_seed`` selects the dropout mask; the trainer increments it every step. With the
    readout "sequence" the model is an encoder, and ``sequence_readout`` computes the logits.
    """

    def __init__(
        self,
        architecture: Architecture,
        config: ModelConfig,
        tokens: int,
        readout: Literal["token", "sequence"] = "token",
    ):
        super().__init__()
        self.dropout_seed: Tensor
        width = architecture.d_model
        config = architecture.backbone(config)
        stack = architecture.stack(config.recipe)
        self.layer_names = [f"{index}.{name}" for index, (name, _) in enumerate(stack)]
        self.embedding = nn.Embedding(tokens, width)
        self.dropout = config.embedding_dropout
        self.register_buffer("dropout_seed", torch.zeros((), dtype=torch.int64))
        layers = [Layer(mixer, width, config) for _, mixer in stack]
        self.layers: list[Layer] = cast(list[Layer], nn.ModuleList(layers))
        self.norm = make_norm(config, width)
        self.sequence_readout: SequenceReadout | None = None
        if readout == "sequence":  # its decoder begins with its own norm
            self.norm = nn.Identity()
            norms = (make_norm(config, width), make_norm(config, width), make_norm(config, width))
            self.sequence_readout = SequenceReadout(width, tokens, norms)
        inside = {module for layer in layers for module in layer.mixer.modules()}
        for module in self.modules():
            if module not in inside or isinstance(module, Linear):
                initialise(module)

    def forward(
        self,
        inputs: Tensor,
        positions: Tensor | None = None,
        order: TokenOrder | None = None,
    ) -> Tensor:
        """Tokens (B, L) -> hidden vectors (B, L, D); `logits` turns those into scores.

        With ``positions`` (B, Q) it returns (B, Q, D) and computes the last layer only there.
        ``order`` is the `token_order` of the inputs, if known.
        """
        x, residual = self._embed(inputs, order), None
        for layer in self.layers:
            layer.mixer.seed = self.dropout_seed if self.training else None
        *below, last = self.layers
        for layer in below:
            x, residual = layer(x, residual)
        if positions is None or 2 * positions.shape[1] <= inputs.shape[1]:
            x, residual = last(x, residual, positions)
            return normalise(self.norm, x, residual)[0]
        x, residual = last(x, residual)
        return rows_at(normalise(self.norm, x, residual)[0], positions)

    @property
    def recurrent(self) -> bool:
        """Whether every layer has a recurrent form, so that the model can decode."""
        return all(layer.mixer.recurrent for layer in self.layers)

    def losses(self) -> dict[str, Tensor]:
        """The auxiliary losses of the last forward pass, scalars, by layer and name."""
        return {
            f"{name}.{loss}": value
            for name, layer in zip(self.layer_names, self.layers, strict=True)
            for loss, value in layer.mixer.losses.items()
        }

    def _embed(self, tokens: Tensor, order: TokenOrder | None = None) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        return embedding(tokens, self.embedding.weight, order, dropout, self.dropout_seed)

    def logits(self, hidden: Tensor) -> Tensor:
        """(…, D) -> (…, V), by the embedding matrix. Call it at labelled positions only."""
        return F.linear(hidden, self.embedding.weight)

    def initial_state(self, batch_size: int) -> dict[str, State]:
        """The state before the first token, by layer name."""
        return {
            name: layer.mixer.initial_state(batch_size)
            for name, layer in zip(self.layer_names, self.layers, strict=True)
        }

    def step(self, tokens: Tensor, state: dict[str, State]) -> tuple[Tensor, dict[str, State]]:
        """Tokens (B,) and a state -> hidden vectors (B, D) and the next state."""
        x, residual, new_state = self._embed(tokens), None, {}
        for name, layer in zip(self.layer_names, self.layers, strict=True):
            x, residual, new_state[name] = layer.step(x, residual, state[name])
        return normalise(self.norm, x, residual)[0], new_state

    def prefill(
        self, inputs: Tensor, state: Mapping[str, State] | None = None
    ) -> tuple[Tensor, dict[str, State]]:
        """Tokens (B, L) -> hidden vectors (B, L, D) and the state after the last token.

        The tokens continue those of ``state``; without one they start the sequence.
        """
        x, residual, after = self._embed(inputs), None, {}
        for name, layer in zip(self.layer_names, self.layers, strict=True):
            before = None if state is None else state[name]
            x, residual, after[name] = layer.prefill(x, residual, before)
        return normalise(self.norm, x, residual)[0], after


def normalise(
    norm: nn.Module, x: Tensor, residual: Tensor | None, positions: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """norm(x + residual) and x + residual, by one kernel if there is one.

    ``positions`` (B, Q) restricts the sum to these positions.
    """
    if isinstance(norm, nn.LayerNorm):
        return add_norm(x, residual, norm.weight, norm.bias, NORM_EPS, "layernorm", positions)
    if isinstance(norm, nn.RMSNorm):
        return add_norm(x, residual, norm.weight, None, NORM_EPS, "rmsnorm", positions)
    total = x if residual is None else x + residual
    return norm(total), total if positions is None else rows_at(total, positions)


def make_norm(config: ModelConfig, width: int) -> nn.Module:
    """The normalisation that the configuration names, eps 1e-5."""
    return (nn.LayerNorm if config.norm == "layernorm" else nn.RMSNorm)(width, eps=NORM_EPS)


def initialise(module: nn.Module) -> None:
    """Normal(0, 0.02) for linear maps and embeddings, zero for their biases.

    The backbone calls it on its own modules and on every `Linear` of a mixer. A mixer's other
    modules, including `torch.nn.Linear`, and parameters marked by `keep_initialisation` keep the
    values that the mixer drew.
    """
    if not isinstance(module, nn.Linear | nn.Embedding):
        return
    if not hasattr(module.weight, "_no_reinit"):
        nn.init.normal_(module.weight, std=INIT_STD)
    bias = getattr(module, "bias", None)
    if bias is not None and not hasattr(bias, "_no_reinit"):
        nn.init.zeros_(bias)


def build_model(config: RunConfig) -> Model:
    """Build the model of a run, drawing weights on the CPU so that only the seed decides them."""
    with isolated_rng(config.seed):
        task = config.task
        model = Model(config.architecture, config.model, task.tokens, task.readout)
    model.dropout_seed += config.seed % 2**31 * 2**32  # leaves room for the steps of each seed
    return model


@contextmanager
def isolated_rng(seed: int, device: str | torch.device = "cpu") -> Iterator[None]:
    """Seed PyTorch's generators for the block, and restore them afterwards."""
    device = torch.device(device)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
