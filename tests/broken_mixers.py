"""A minimal correct mixer, and one mixer for each way of breaking the contract.

Each broken class names the property that must catch it in `BREAKS`.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from recall_bench.architectures import Mixer, State

WIDTH = 8


class Correct(Mixer):
    """A convolution over the last three tokens, then a fading sum: y_t = s_t = g s_(t-1) + u_t.

    State: ``tail`` (batch, 2, width), the last inputs, and ``sum`` (batch, width).
    """

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(3, WIDTH))  # oldest input first
        self.out = nn.Linear(WIDTH, WIDTH)

    def convolve(self, x: Tensor) -> Tensor:
        padded = torch.cat([x.new_zeros(x.shape[0], 2, WIDTH), x], 1)
        return sum(padded[:, i : i + x.shape[1]] * self.kernel[i] for i in range(3))  # type: ignore[return-value]

    def forward(self, x: Tensor) -> Tensor:
        age = torch.arange(x.shape[1], device=x.device)
        age = (age[:, None] - age).to(x.dtype)
        decay = 0.9 ** age.clamp(min=0) * (age >= 0)
        return self.out(decay @ self.convolve(x))

    def initial_state(self, batch_size: int) -> dict[str, Any]:
        return {"tail": self.zeros(batch_size, 2, WIDTH), "sum": self.zeros(batch_size, WIDTH)}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, Any]:
        recent = torch.cat([state["tail"], x[:, None]], 1)
        total = 0.9 * state["sum"] + (recent * self.kernel).sum(1)
        return self.out(total), {"tail": recent[:, 1:], "sum": total}


class Identity(Mixer):
    """Correct as well, without parameters and without state."""

    def forward(self, x: Tensor) -> Tensor:
        return x

    def initial_state(self, batch_size: int) -> dict[str, Any]:
        return {}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, Any]:
        return x, state


class Growing(Correct):
    """Correct as well: it keeps all tokens, and says so."""

    grows = True

    def initial_state(self, batch_size: int) -> dict[str, Any]:
        return {"seen": self.zeros(batch_size, 0, WIDTH)}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, Any]:
        seen = torch.cat([state["seen"], x[:, None]], 1)
        return self.forward(seen)[:, -1], {"seen": seen}


class Broken(Correct):
    breaks: ClassVar[str]


class LooksAhead(Broken):
    breaks = "changing the future changes no past output"

    def convolve(self, x: Tensor) -> Tensor:
        return super().convolve(x.roll(-1, 1))


class TakesTheQueryInTheListForItsPosition(Broken):
    breaks = "at equals forward at the requested positions"

    def at(self, x: Tensor, positions: Tensor) -> Tensor:
        return self(x)[:, : positions.shape[1]]


class NormalisesOverTheLength(Broken):
    breaks = "the length of the input does not matter"

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / x.shape[1]


class ForgetsTheTail(Broken):
    breaks = "forward equals a scan of step"

    def initial_state(self, batch_size: int) -> dict[str, Any]:
        return {"sum": self.zeros(batch_size, WIDTH)}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, Any]:
        y, new = super().step(x, {"tail": x.new_zeros(len(x), 2, WIDTH), **state})
        return y, {"sum": new["sum"]}


class PrefillDropsTheTail(Broken):
    breaks = "prefill equals steps"

    def prefill(self, x: Tensor) -> tuple[Tensor, Any]:
        y, state = super().prefill(x)
        return y, {**state, "tail": torch.zeros_like(state["tail"])}


class ReadsEachPieceAfresh(Broken):
    breaks = "a prompt may be read in pieces"

    def prefill(self, x: Tensor, state: State | None = None) -> tuple[Tensor, Any]:
        return super().prefill(x)


class HidesTheTailOnSelf(Broken):
    breaks = "the state holds everything"

    def initial_state(self, batch_size: int) -> dict[str, Any]:
        self._tail = self.zeros(batch_size, 2, WIDTH)
        return {"sum": self.zeros(batch_size, WIDTH)}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, Any]:
        y, new = super().step(x, {"tail": self._tail, **state})
        self._tail = new["tail"]
        return y, {"sum": new["sum"]}


class HidesTheTailInAGlobal(Broken):
    breaks = "the state holds everything"
    tails: ClassVar[dict[int, Tensor]] = {}

    def initial_state(self, batch_size: int) -> dict[str, Any]:
        total = self.zeros(batch_size, WIDTH)
        self.tails[id(total)] = self.zeros(batch_size, 2, WIDTH)
        return {"sum": total}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, Any]:
        tail = self.tails.get(id(state["sum"]), x.new_zeros(len(x), 2, WIDTH))
        y, new = super().step(x, {"tail": tail, **state})
        self.tails[id(new["sum"])] = new["tail"]
        return y, {"sum": new["sum"]}


class HidesTheTailBehindAView(Broken):
    breaks = "the state holds everything"

    def initial_state(self, batch_size: int) -> dict[str, Any]:
        return {"sum": self.zeros(batch_size, 3, WIDTH)[:, 2]}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, Any]:
        total = state["sum"]
        whole = total._base if total._base is not None else x.new_zeros(len(x), 3, WIDTH)
        y, new = super().step(x, {"tail": whole[:, :2], "sum": total})
        return y, {"sum": torch.cat([new["tail"], new["sum"][:, None]], 1)[:, 2]}


class CountsOnSelf(Broken):
    breaks = "the state holds everything"

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("tokens", torch.zeros(()))

    def initial_state(self, batch_size: int) -> dict[str, Any]:
        self.tokens.zero_()
        return super().initial_state(batch_size)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * torch.arange(1, x.shape[1] + 1, dtype=x.dtype)[:, None]

    def step(self, x: Tensor, state: State) -> tuple[Tensor, Any]:
        y, state = super().step(x, state)
        self.tokens += 1
        return y * self.tokens, state


class MixesTheBatch(Broken):
    breaks = "batch rows are independent"

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - x.mean(0))

    def step(self, x: Tensor, state: State) -> tuple[Tensor, Any]:
        return super().step(x - x.mean(0), state)


class MixesTheBatchInTraining(Broken):
    breaks = "batch rows are independent"

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.norm(x.transpose(1, 2)).transpose(1, 2))

    def step(self, x: Tensor, state: State) -> tuple[Tensor, Any]:
        return super().step(self.norm(x), state)


class GradientIsNaN(Broken):
    breaks = "finite gradients for every parameter"

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + (self.kernel - self.kernel).sum().abs().sqrt()


class GradientIsMissing(Broken):
    breaks = "finite gradients for every parameter"

    def __init__(self) -> None:
        super().__init__()
        self.forgotten = nn.Parameter(torch.ones(WIDTH))


class GradientIsCutOff(Broken):
    breaks = "finite gradients for every parameter"

    def convolve(self, x: Tensor) -> Tensor:
        return super().convolve(x).detach() + 0 * self.kernel.sum()


class GrowsUndeclared(Growing, Broken):
    breaks = "the state is constant, or grows as declared"
    grows = False


class DeclaresGrowthWithoutAny(Broken):
    breaks = "the state is constant, or grows as declared"
    grows = True


class StartsWithAnotherDtype(Broken):
    breaks = "the state is constant, or grows as declared"

    def initial_state(self, batch_size: int) -> dict[str, Any]:
        return {**super().initial_state(batch_size), "sum": torch.zeros(batch_size, WIDTH)}


class PrefillClaimsASmallerState(Broken):
    breaks = "state bytes are honest"

    def prefill(self, x: Tensor) -> tuple[Tensor, Any]:
        y, state = super().prefill(x)
        return y, {name: tensor.to(torch.bfloat16) for name, tensor in state.items()}


class SharesStateBetweenRows(Broken):
    breaks = "the state is a nest of tensors, batch first"

    def initial_state(self, batch_size: int) -> dict[str, Any]:
        return {**super().initial_state(batch_size), "position": torch.zeros(())}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, Any]:
        y, new = super().step(x, state)
        return y, {**new, "position": state["position"] + 1}


class KeepsANumber(SharesStateBetweenRows):
    def initial_state(self, batch_size: int) -> dict[str, Any]:
        return {**Correct.initial_state(self, batch_size), "position": 0}


class ChangesItsState(Broken):
    breaks = "step leaves its state unchanged"

    def step(self, x: Tensor, state: State) -> tuple[Tensor, Any]:
        y, new = super().step(x, state)
        state["sum"].copy_(new["sum"])
        return y, {**new, "sum": state["sum"]}


class ReturnsAnotherShape(Broken):
    breaks = "outputs have the shape and dtype of inputs"

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).transpose(1, 2)


class IsNotDeterministic(Broken):
    breaks = "the same seed gives the same numbers"

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1e-3 * torch.randn_like(x)


class InitialisesFromTheClock(Broken):
    breaks = "the same seed gives the same numbers"
    made: ClassVar[list[float]] = []

    def __init__(self) -> None:
        super().__init__()
        self.made.append(len(self.made) / 7)
        self.kernel.data += self.made[-1]


class NeedsFloat32(Broken):
    breaks = "bfloat16 runs"

    def convolve(self, x: Tensor) -> Tensor:
        wide = x if x.dtype == torch.float64 else x.float()
        return super().convolve(wide)


class AsksForValues(Broken):
    breaks = "the meta device gives the same state"

    def step(self, x: Tensor, state: State) -> tuple[Tensor, Any]:
        if x.abs().max().item() > 1e9:
            raise ValueError("too large")
        return super().step(x, state)


class Raises(Broken):
    breaks = "forward equals a scan of step"

    def step(self, x: Tensor, state: State) -> tuple[Tensor, Any]:
        raise RuntimeError("this mixer has no recurrent form")


def broken_mixers() -> list[type[Broken]]:
    """Every class above that names the property it breaks."""
    found: list[type[Broken]] = []
    waiting = [Broken]
    while waiting:
        children = waiting.pop().__subclasses__()
        found += children
        waiting += children
    return sorted(found, key=lambda cls: cls.__name__)
