"""RWKV-4's time mixing (arXiv 2305.13048, section 3.1), token by token."""

from typing import Any

import torch
from torch import Tensor

from recall_bench.kernels.wkv4 import WKV4State


def wkv4(
    k: Tensor, v: Tensor, log_decay: Tensor, bonus: Tensor, initial_state: Any = None
) -> tuple[Tensor, WKV4State]:
    """y_t = (n_{t-1} + e^(u + k_t) v_t) / (e_{t-1} + e^(u + k_t)), and n, e, both over e^m.

    n_t = e^w n_{t-1} + e^(k_t) v_t and e_t = e^w e_{t-1} + e^(k_t), with m_t the largest exponent
    so far. k, v (B, L, D), w = log_decay and u = bonus (D,).
    """
    n = e = m = k.new_zeros(k.shape[0], k.shape[2])
    if initial_state is not None:
        n, e, m = initial_state
    outputs = []
    for t in range(k.shape[1]):
        m = m.where(e > 0, -torch.inf)
        largest = torch.maximum(m, bonus + k[:, t])
        past, own = torch.exp(m - largest), torch.exp(bonus + k[:, t] - largest)
        outputs.append((past * n + own * v[:, t]) / (past * e + own))
        largest = torch.maximum(m + log_decay, k[:, t])
        past, own = torch.exp(m + log_decay - largest), torch.exp(k[:, t] - largest)
        n, e, m = past * n + own * v[:, t], past * e + own, largest
    return (torch.stack(outputs, 1) if outputs else v), WKV4State(n, e, m)
