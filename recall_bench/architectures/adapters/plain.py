"""Wraps modules that have only `forward`: `plain_module`."""

from torch import Tensor, nn

from recall_bench.architectures.base import Mixer


def plain_module(module: nn.Module, state_bytes: int | None = None) -> Mixer:
    """A mixer of a causal module ``(batch, length, width) -> same`` without a recurrent form.

    If ``module`` returns a tuple, as `torch.nn.GRU` does, its first entry is the output. The mixer
    can be trained and scored. Its state cannot be measured: ``state_bytes`` declares the bytes of
    one sequence, and None leaves them unmeasured.

    Raises `ValueError` for negative bytes.
    """
    if state_bytes is not None and state_bytes < 0:
        raise ValueError(f"Expected state_bytes of at least 0, got {state_bytes}.")
    return PlainModule(module, state_bytes)


class PlainModule(Mixer):
    """See `plain_module`."""

    recurrent = False

    def __init__(self, module: nn.Module, state_bytes: int | None):
        super().__init__()
        self.module, self.stated_bytes = module, state_bytes

    def forward(self, x: Tensor) -> Tensor:
        y = self.module(x)
        first: Tensor = y[0] if isinstance(y, tuple) else y
        return first
