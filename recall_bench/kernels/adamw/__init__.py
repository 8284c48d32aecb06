"""One update of AdamW, in place."""

from collections.abc import Sequence

from torch import Tensor

from recall_bench.kernels.plumbing import dispatch

__all__ = ["adamw"]


def adamw(
    weights: Sequence[Tensor],
    gradients: Sequence[Tensor],
    firsts: Sequence[Tensor],
    seconds: Sequence[Tensor],
    count: Tensor,
    rate: Tensor,
    weight_decay: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    backend: str = "auto",
) -> None:
    """Adam with decoupled weight decay (arXiv 1711.05101, algorithm 2), of large tensors.

    Args:
        weights: at least one, of any shapes, contiguous; changed.
        gradients: of the same shapes.
        firsts, seconds: the running means of gradients and of their squares, contiguous; changed.
        count: the number of updates, this one included, a scalar on the device.
        rate: the learning rate, a scalar on the device.
        weight_decay: the share of the weight that an update at rate 1 would remove.
        betas: the decay rates of the two means.
        eps: added to the root of the mean of squares.
        backend: "auto", "reference", which is PyTorch's fused kernel, or "triton".
    """
    run = dispatch.implementation("adamw", backend, weights[0])
    run(weights, gradients, firsts, seconds, count, rate, weight_decay, betas, eps)
