"""Wraps layers of mamba_ssm, Mamba and Mamba2: `mamba_layer`.

The protocol is that of mamba_ssm 2.3.2 (``mamba_ssm/modules/mamba_simple.py`` and ``mamba2.py``).
"""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from recall_bench.architectures.base import Mixer, State
from recall_bench.errors import UserError

STATES = ("conv_state", "ssm_state")


def mamba_layer(layer: nn.Module) -> Mixer:
    """A mixer of one mamba_ssm layer with ``inference_params``, ``step`` and a cache of two states.

    Build the layer with a ``layer_idx``: it looks up its states by this number. Raises `UserError`
    if it has none.
    """
    if getattr(layer, "layer_idx", None) is None:
        raise UserError(
            f"mamba_layer got a {type(layer).__name__} without layer_idx. Expected one built with "
            f"layer_idx=0: it looks its states up by this number."
        )
    return MambaLayer(layer)


@dataclass
class InferenceParams:
    """The fields of mamba_ssm's class of this name that its layers read."""

    max_seqlen: int
    max_batch_size: int
    seqlen_offset: int = 0
    batch_size_offset: int = 0
    key_value_memory_dict: dict[int, tuple[Tensor, ...]] = field(default_factory=dict)
    lengths_per_sample: Tensor | None = None


class MambaLayer(Mixer):
    """See `mamba_layer`."""

    runs_on_meta = False  # its kernels would access memory that does not exist

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer: Any = layer

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        return y

    def initial_state(self, batch_size: int) -> State:
        states = self.layer.allocate_inference_cache(batch_size, max_seqlen=1)
        return dict(zip(STATES, states, strict=True))

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        before = [state[name].clone() for name in STATES]  # the layer writes into them
        y, *after = self.layer.step(x[:, None], *before)
        return y[:, 0], dict(zip(STATES, after, strict=True))

    def prefill(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """One pass for the first tokens; mamba_ssm can only continue a prompt step by step."""
        batch_size, length = x.shape[:2]
        if state is not None or length == 0:
            return super().prefill(x, state)
        index = self.layer.layer_idx
        params = InferenceParams(max_seqlen=length, max_batch_size=batch_size)
        params.key_value_memory_dict[index] = tuple(self.initial_state(batch_size).values())
        y = self.layer(x, inference_params=params)
        after = params.key_value_memory_dict[index]
        return y, dict(zip(STATES, after, strict=True))
