"""A small problem for every operator that carries a state, for the tests that all of them share.

To add an operator, append its problem to `PROBLEMS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from recall_bench.kernels.attention import attention, reserve
from recall_bench.kernels.attention import naive as naive_attention
from recall_bench.kernels.delta import delta
from recall_bench.kernels.delta import naive as naive_delta
from recall_bench.kernels.gated_linear import gated_linear
from recall_bench.kernels.gated_linear import naive as naive_gated
from recall_bench.kernels.plumbing import nest as nests
from recall_bench.kernels.plumbing.operator import Operator
from recall_bench.kernels.s4d import naive as naive_s4d
from recall_bench.kernels.s4d import s4d
from recall_bench.kernels.selective_scan import naive as naive_scan
from recall_bench.kernels.selective_scan import selective_scan
from recall_bench.kernels.short_conv import naive as naive_conv
from recall_bench.kernels.short_conv import short_conv
from recall_bench.kernels.sliding_window_attention import naive as naive_window
from recall_bench.kernels.sliding_window_attention import sliding_window_attention
from recall_bench.kernels.taylor_attention import naive as naive_taylor
from recall_bench.kernels.taylor_attention import taylor_attention
from recall_bench.kernels.token_mix import naive as naive_mix
from recall_bench.kernels.token_mix import token_mix
from recall_bench.kernels.wkv import naive as naive_wkv
from recall_bench.kernels.wkv import wkv
from recall_bench.kernels.wkv4 import naive as naive_wkv4
from recall_bench.kernels.wkv4 import wkv4

Inputs = dict[str, Any]

ANYWHERE = ("from nothing", "from a state")
START = ANYWHERE[:1]


@dataclass(frozen=True)
class Problem:
    """An operator, its recurrence token by token, and inputs of any length."""

    name: str
    operator: Operator
    naive: Callable[..., Any]
    """(*inputs, initial_state=None) -> y and the state."""
    draw: Callable[[int, torch.Generator], Inputs]
    """(length, generator) -> the inputs by name, in order, in float64; options among them."""
    length_axes: Mapping[str, int]
    """The inputs that have a row for each token -> their axis of tokens."""
    free: frozenset[tuple[str, int]] = field(default_factory=frozenset)
    """Axes (input, axis) whose size no other input shares."""
    triton: tuple[str, ...] = ANYWHERE
    """The starts that its Triton kernels support, from `ANYWHERE`; none without kernels."""
    reserve: Callable[[Any, int], Any] | None = None
    """(state, tokens) -> a copy with room for more tokens, where the state grows."""

    def inputs(self, length: int, seed: int = 0) -> Inputs:
        return self.draw(length, torch.Generator().manual_seed(seed))

    def state(self) -> Any:
        """The state after three tokens."""
        return self.naive(*self.inputs(3, seed=1).values())[1]

    def room(self, state: Any, tokens: int) -> Any:
        """A copy of a state with room for ``tokens`` more tokens."""
        if self.reserve is not None:
            return self.reserve(state, tokens)
        return rebuild(state, [x.clone() for x in leaves(state)])

    def cut(self, inputs: Inputs, begin: int, end: int) -> Inputs:
        """The inputs of the tokens from ``begin`` to before ``end``."""
        axes = self.length_axes
        return {
            name: x.narrow(axes[name], begin, end - begin) if name in axes and x is not None else x
            for name, x in inputs.items()
        }


def leaves(nest: Any) -> list[Tensor]:
    """The tensors of a nest in order."""
    return list(nests.leaves(nest))


def differentiable(nest: Any) -> list[Tensor]:
    """The tensors of a nest that can have a gradient, in order."""
    return [x for x in leaves(nest) if x.is_floating_point() or x.is_complex()]


def rebuild(nest: Any, tensors: list[Tensor]) -> Any:
    """A nest like ``nest`` with other tensors."""
    remaining = iter(tensors)
    return nests.map_leaves(lambda _: next(remaining), nest)


def _normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _short_conv(length: int, g: torch.Generator) -> Inputs:
    return {
        "x": _normal(g, 2, length, 5),
        "weight": _normal(g, 5, 4),
        "bias": _normal(g, 5),
        "activation": "silu",
        "gate": _normal(g, 2, length, 5),
        "residual": True,
    }


def _bare_conv(length: int, g: torch.Generator) -> Inputs:
    return {"x": _normal(g, 2, length, 5), "weight": _normal(g, 5, 3)}


def _token_mix(length: int, g: torch.Generator) -> Inputs:
    return {"x": _normal(g, 2, length, 5), "mix": _normal(g, 4, 5)}


def _selective_scan(length: int, g: torch.Generator) -> Inputs:
    return {
        "u": _normal(g, 2, length, 5),
        "delta": _normal(g, 2, length, 5) / 2,
        "A": -_normal(g, 5, 3).exp(),
        "B": _normal(g, 2, length, 3),
        "C": _normal(g, 2, length, 3),
        "D": _normal(g, 5),
        "z": _normal(g, 2, length, 5),
        "delta_bias": _normal(g, 5) - 2,
        "delta_softplus": True,
    }


def _bare_scan(length: int, g: torch.Generator) -> Inputs:
    inputs = dict(list(_selective_scan(length, g).items())[:5])
    return inputs | {"delta": inputs["delta"].abs() / 5}


def _wkv(length: int, g: torch.Generator) -> Inputs:
    return {
        "r": _normal(g, 2, length, 2, 4),
        "k": _normal(g, 2, length, 2, 4),
        "v": _normal(g, 2, length, 2, 3),
        "log_decay": -torch.linspace(-8, 3, 8, dtype=torch.float64).exp().view(2, 4),
        "bonus": _normal(g, 2, 4),
    }


def _wkv4(length: int, g: torch.Generator) -> Inputs:
    return {
        "k": _normal(g, 2, length, 5),
        "v": _normal(g, 2, length, 5),
        "log_decay": -_normal(g, 5).exp(),
        "bonus": _normal(g, 5),
    }


def _s4d(length: int, g: torch.Generator) -> Inputs:
    return {
        "kv": _normal(g, 2, 3, 2, 2, length),
        "log_dt": _normal(g, 3, 1) - 3,
        "log_A_real": _normal(g, 3, 4) / 3,
        "A_imag": 3 * _normal(g, 3, 4),
        "B": _normal(g, 3, 4, 2),
        "C": _normal(g, 3, 4, 2),
        "D": _normal(g, 3),
    }


def _flat_s4d(length: int, g: torch.Generator) -> Inputs:
    inputs = _s4d(length, g)
    return inputs | {"kv": inputs["kv"][:, :, 0, 0]}


def _attention(length: int, g: torch.Generator) -> Inputs:
    return {
        "q": _normal(g, 2, length, 4, 3),
        "k": _normal(g, 2, length, 2, 3),
        "v": _normal(g, 2, length, 2, 3),
    }


def _window(length: int, g: torch.Generator) -> Inputs:
    return _attention(length, g) | {"window": 4}


def _taylor(length: int, g: torch.Generator) -> Inputs:
    return {
        "q": _normal(g, 2, length, 2, 4),
        "k": _normal(g, 2, length, 2, 4),
        "v": _normal(g, 2, length, 2, 3),
    }


def _linear(length: int, g: torch.Generator) -> Inputs:
    return {
        "q": _normal(g, 2, length, 2, 3),
        "k": _normal(g, 2, length, 2, 3),
        "v": _normal(g, 2, length, 2, 5),
    }


def _gated_linear(length: int, g: torch.Generator) -> Inputs:
    return _linear(length, g) | {"log_decay": -_normal(g, 2, length, 2, 3).exp()}


def _constant_decay(length: int, g: torch.Generator) -> Inputs:
    return _linear(length, g) | {"log_decay": -_normal(g, 2).exp()}


def _shared_keys(length: int, g: torch.Generator) -> Inputs:
    return {
        "q": _normal(g, 2, length, 2, 3),
        "k": _normal(g, 2, length, 2, 3),
        "v": _normal(g, 2, length, 4, 5),
        "log_decay": -_normal(g, 2, length, 4).exp(),
    }


def _bonus(length: int, g: torch.Generator) -> Inputs:
    return _gated_linear(length, g) | {"bonus": _normal(g, 2, 3)}


def _gated_delta(length: int, g: torch.Generator) -> Inputs:
    return {
        "q": _normal(g, 2, length, 2, 4),
        "k": F.normalize(_normal(g, 2, length, 2, 4), dim=-1),
        "v": _normal(g, 2, length, 2, 3),
        "beta": 2 * _normal(g, 2, length, 2).sigmoid(),
        "log_decay": -_normal(g, 2, length, 2).exp(),
    }


def _delta_without_decay(length: int, g: torch.Generator) -> Inputs:
    return dict(list(_gated_delta(length, g).items())[:4])


def _delta_of_channels(length: int, g: torch.Generator) -> Inputs:
    return _gated_delta(length, g) | {"log_decay": -_normal(g, 2, length, 2, 4).exp()}


def _delta_product(length: int, g: torch.Generator) -> Inputs:
    return {
        "q": _normal(g, 2, length, 2, 4),
        "k": F.normalize(_normal(g, 2, length, 3, 2, 4), dim=-1),
        "v": _normal(g, 2, length, 3, 2, 3),
        "beta": 2 * _normal(g, 2, length, 3, 2).sigmoid(),
        "log_decay": -_normal(g, 2, length, 2).exp(),
    }


def _delta_before(length: int, g: torch.Generator) -> Inputs:
    removed = F.normalize(_normal(g, 2, length, 2, 4), dim=-1)
    return _gated_delta(length, g) | {
        "beta": None,
        "log_decay": -_normal(g, 2, length, 2, 4).exp(),
        "a": -removed,
        "b": removed * _normal(g, 2, length, 2, 4).sigmoid(),
        "remove": "before",
    }


_CONV = {"x": 1, "gate": 1}
_SCAN = dict.fromkeys(("u", "delta", "B", "C", "z"), 1)
_QKV = dict.fromkeys("qkv", 1)
_GATED = _QKV | {"log_decay": 1}
_DELTA = dict.fromkeys(("q", "k", "v", "beta", "log_decay", "a", "b"), 1)
_ROWS = frozenset({("x", 0), ("x", 1)})

PROBLEMS = [
    Problem(
        "short_conv", short_conv, naive_conv.short_conv, _short_conv, _CONV,
        frozenset({("weight", 1)}),
    ),
    Problem(
        "short_conv, bare", short_conv, naive_conv.short_conv, _bare_conv, {"x": 1},
        _ROWS | {("weight", 1)}, (),
    ),
    Problem(
        "token_mix", token_mix, naive_mix.token_mix, _token_mix, {"x": 1}, _ROWS | {("mix", 0)},
        START,
    ),
    Problem(
        "selective_scan", selective_scan, naive_scan.selective_scan, _selective_scan, _SCAN
    ),
    Problem(
        "selective_scan, bare", selective_scan, naive_scan.selective_scan, _bare_scan,
        dict.fromkeys(("u", "delta", "B", "C"), 1), triton=(),
    ),
    Problem(
        "wkv", wkv, naive_wkv.wkv, _wkv, dict.fromkeys("rkv", 1), frozenset({("v", 3)}), START,
    ),
    Problem("wkv4", wkv4, naive_wkv4.wkv4, _wkv4, dict.fromkeys("kv", 1), triton=()),
    Problem(
        "s4d", s4d, naive_s4d.s4d, _s4d, {"kv": -1},
        frozenset({("kv", axis) for axis in (0, 2, 3, 4)}),
    ),
    Problem(
        "s4d, one sequence a head", s4d, naive_s4d.s4d, _flat_s4d, {"kv": -1},
        frozenset({("kv", 0), ("kv", 2)}),
    ),
    Problem(
        "attention", attention, naive_attention.attention, _attention, _QKV,
        frozenset({("q", 2)}), (), reserve,
    ),
    Problem(
        "sliding_window_attention", sliding_window_attention,
        naive_window.sliding_window_attention, _window, _QKV, frozenset({("q", 2)}), START,
    ),
    Problem(
        "taylor_attention", taylor_attention, naive_taylor.taylor_attention, _taylor, _QKV,
        frozenset({("v", 3)}),
    ),
    Problem(
        "gated_linear", gated_linear, naive_gated.gated_linear, _linear, _QKV,
        frozenset({("v", 2), ("v", 3)}), (),
    ),
    Problem(
        "gated_linear, a decay per channel", gated_linear, naive_gated.gated_linear, _gated_linear,
        _GATED, frozenset({("v", 3)}), (),
    ),
    Problem(
        "gated_linear, a constant decay", gated_linear, naive_gated.gated_linear, _constant_decay,
        _QKV, frozenset({("v", 3)}), (),
    ),
    Problem(
        "gated_linear, shared keys", gated_linear, naive_gated.gated_linear, _shared_keys, _GATED,
        frozenset({("v", 3)}), (),
    ),
    Problem(
        "gated_linear, a bonus", gated_linear, naive_gated.gated_linear, _bonus, _GATED,
        frozenset({("v", 3)}), (),
    ),
    Problem(
        "delta, gated", delta, naive_delta.delta, _gated_delta, _DELTA, frozenset({("v", 3)}), (),
    ),
    Problem(
        "delta, without decay", delta, naive_delta.delta, _delta_without_decay, _DELTA,
        frozenset({("v", 3)}), (),
    ),
    Problem(
        "delta, a decay for each channel", delta, naive_delta.delta, _delta_of_channels, _DELTA,
        frozenset({("v", 3)}), (),
    ),
    Problem(
        "delta, several writes", delta, naive_delta.delta, _delta_product, _DELTA,
        frozenset({("v", 4)}), (),
    ),
    Problem(
        "delta, removed before the decay", delta, naive_delta.delta, _delta_before, _DELTA,
        frozenset({("v", 3)}), (),
    ),
]  # fmt: skip
