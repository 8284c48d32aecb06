"""One update of AdamW, in place."""

from torch import Tensor

from recall_bench.kernels import dispatch

__all__ = ["adamw"]


def adamw(
    weight: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    count: Tensor,
    rate: Tensor,
    weight_decay: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    backend: str = "auto",
) -> None:
    """Adam with decoupled weight decay (arXiv 1711.05101, algorithm 2), for one large tensor.

    Args:
        weight: any shape, contiguous; changed.
        gradient: of the same shape.
        first, second: the running means of gradients and of their squares, contiguous; changed.
        count: how many updates there have been with this one, a scalar on the device.
        rate: the learning rate, a scalar on the device.
        weight_decay: the share of the weight that a rate of 1 would take away.
        betas: what the means keep in an update.
        eps: added to the root of the squares' mean.
        backend: "auto", "reference", which is PyTorch's fused kernel, or "triton".
    """
    run = dispatch.implementation("adamw", backend, weight)
    run(weight, gradient, first, second, count, rate, weight_decay, betas, eps)
