"""AdamW by PyTorch's fused kernel."""

from collections.abc import Sequence

import torch
from torch import Tensor


@torch.no_grad()
def adamw(
    weights: Sequence[Tensor],
    gradients: Sequence[Tensor],
    firsts: Sequence[Tensor],
    seconds: Sequence[Tensor],
    count: Tensor,
    rate: Tensor,
    weight_decay: float,
    betas: tuple[float, float],
    eps: float,
) -> None:
    """See `recall_bench.kernels.adamw.adamw`."""
    torch._fused_adamw_(
        list(weights),
        list(gradients),
        list(firsts),
        list(seconds),
        [],
        [count] * len(weights),
        lr=rate,
        beta1=betas[0],
        beta2=betas[1],
        weight_decay=weight_decay,
        eps=eps,
        amsgrad=False,
        maximize=False,
    )
