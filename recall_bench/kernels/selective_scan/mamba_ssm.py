"""The selective scan by the authors' package mamba-ssm, which takes (batch, channels, length).

Importing any part of that package imports its compiled scan, so it is unusable without the scan.
"""

from typing import Any

from torch import Tensor

from recall_bench.errors import UserError
from recall_bench.kernels.plumbing.optional import import_optional, unavailable_for
from recall_bench.kernels.plumbing.triton_support import DTYPES, needs_gradient
from recall_bench.kernels.selective_scan import reference

_interface = import_optional("mamba_ssm.ops.selective_scan_interface", "mamba-ssm")


def unavailable(op: str, tensor: Tensor) -> str | None:
    """The reason the package cannot run on a u like ``tensor``, or None."""
    return unavailable_for(tensor, DTYPES)


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_state: bool = False,
) -> Any:
    """See `recall_bench.kernels.selective_scan.selective_scan`.

    The package cannot start from an initial state. Raises `UserError` if the last state needs a
    gradient, which the package would omit silently.
    """
    tensors = (u, delta, A, B, C, D, z, delta_bias)
    if return_state and needs_gradient(*tensors):
        raise UserError(
            "The kernel backend 'mamba-ssm' has no gradient for the last state. "
            "Use 'triton' or 'reference', or torch.no_grad()."
        )
    if u.numel() == 0:
        return reference.selective_scan(*tensors, delta_softplus, return_state=return_state)
    steps, B, C = (x.to(u.dtype).transpose(1, 2) for x in (delta, B, C))
    gate = None if z is None else z.to(u.dtype).transpose(1, 2)
    D, delta_bias = (None if x is None else x.float() for x in (D, delta_bias))
    result = _interface.selective_scan_fn(
        u.transpose(1, 2), steps, A.float(), B, C, D, gate, delta_bias, delta_softplus, return_state
    )
    if return_state:
        return result[0].transpose(1, 2), result[1]
    return result.transpose(1, 2)
