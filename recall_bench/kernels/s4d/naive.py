"""S4D's recurrence (arXiv 2206.11893, section 3), token by token."""

import torch
from torch import Tensor


def s4d(
    kv: Tensor,
    log_dt: Tensor,
    log_A_real: Tensor,
    A_imag: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    initial_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """(1 - dt A / 2) h_t = (1 + dt A / 2) h_{t-1} + dt B x_t, y_t = 2 Re C h_t + D x_t, and h.

    x = kv (B, H, …, L), h (B, H, …, N); the parameters begin with H.
    """
    middle = [1] * (kv.dim() - 3)
    dt, A = log_dt.exp(), torch.complex(-log_A_real.exp(), A_imag)  # (H, N)
    dt, A, B, C = (
        x.view(len(x), *middle, -1)
        for x in (dt, A, torch.view_as_complex(B), torch.view_as_complex(C))
    )
    h = initial_state
    if h is None:
        h = A.new_zeros(*kv.shape[:-1], A.shape[-1])
    outputs = []
    for x in kv.unbind(-1):
        h = ((1 + dt * A / 2) * h + dt * B * x[..., None]) / (1 - dt * A / 2)
        outputs.append(2 * (C * h).sum(-1).real + D.view(-1, *middle) * x)
    return (torch.stack(outputs, -1) if outputs else kv), h
