"""Residual addition and normalisation in plain PyTorch, on any device."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from recall_bench.kernels.rows_at.reference import rows_at

Kind = Literal["layernorm", "rmsnorm"]


def add_norm(
    x: Tensor,
    residual: Tensor | None,
    weight: Tensor,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    kind: Kind = "layernorm",
    dtype: torch.dtype | None = None,
    positions: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """See `recall_bench.kernels.add_norm.add_norm`; ``dtype`` is that of the first output."""
    total = x if residual is None else x + residual
    precise = torch.promote_types(total.dtype, torch.float32)
    wide, weight = total.to(precise), weight.to(precise)
    bias = None if bias is None else bias.to(precise)
    if kind == "layernorm":
        normed = F.layer_norm(wide, weight.shape, weight, bias, eps)
    else:
        normed = F.rms_norm(wide, weight.shape, weight, eps)
        normed = normed if bias is None else normed + bias
    return normed.to(dtype or x.dtype), total if positions is None else rows_at(total, positions)
