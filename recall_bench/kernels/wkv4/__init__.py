"""RWKV-4's recurrence: a mean of values whose weights are exponentials of keys and distances."""

from typing import NamedTuple

import torch
from torch import Tensor

from recall_bench.kernels.plumbing.operator import Layout, Shapes, Zeros, operator

__all__ = ["WKV4State", "wkv4"]


class WKV4State(NamedTuple):
    """Two sums of exponentials, which share a factor exp(scale): each (batch, width)."""

    numerator: Tensor
    denominator: Tensor
    """0 before the first token only: later it is 1 at least, since the largest term is 1."""
    scale: Tensor


@operator()
def wkv4(k: Tensor, v: Tensor, log_decay: Tensor, bonus: Tensor) -> Layout:
    """The mean of v_j, j <= t, with weights exp(k_j + (t-1-j) log_decay), exp(k_t + bonus) for v_t.

    RWKV-4's time mixing (arXiv 2305.13048, section 3.1), in each channel by itself. There is no
    Triton kernel: a GPU runs the plain PyTorch form too.

    Args:
        k, v: (batch, length, width); any length, also 0.
        log_decay: (width,), at most 0.
        bonus: (width,).

    Returns:
        (batch, length, width), float32, or float64 for float64 inputs. The state is a `WKV4State`
        in the same dtype.
    """
    sizes = Shapes("wkv4")
    sizes.check("k", k, "batch length width")
    sizes.check("v", v, "batch length width")
    sizes.check("log_decay", log_decay, "width")
    sizes.check("bonus", bonus, "width")
    zeros = Zeros((sizes["batch"], sizes["width"]), torch.promote_types(k.dtype, torch.float32))
    return WKV4State._make((zeros, zeros, zeros))
