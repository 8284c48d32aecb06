"""H3: a shift and a diagonal state space model, joined by products of q, k and v."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recall_bench.architectures.base import Recurrence, exempt_from_decay
from recall_bench.architectures.carry import Carry
from recall_bench.kernels.linear.module import Linear
from recall_bench.kernels.long_conv import long_conv
from recall_bench.kernels.outer import contract, outer
from recall_bench.kernels.s4d import s4d
from recall_bench.kernels.short_conv import short_conv

SHORT = 8
"""Up to this many taps, summing over them is the fastest convolution on any device."""

DT_MIN, DT_MAX = 1e-3, 1e-1
"""Range of the initial step sizes, drawn uniformly in log space."""


class H3Mixer(Recurrence):
    """y = out_proj(q · SSM_diagonal(SSM_shift(k) ⊗ v)) (H3, arXiv 2212.14052, section 3).

    The channels form d_model / head_dim heads; ⊗ is the outer product within a head, and q
    contracts its key side, so that head_dim = 1 multiplies channel by channel.

    Shift: C k_{t-N+1 … t} + D k_t with N = d_state learned taps C, which is the shift matrix with
    B = e_1; C starts as PyTorch's `Conv1d`, D as normal(0, 1).

    Diagonal: N / 2 complex modes a head, one of each conjugate pair, discretised by the bilinear
    rule. The start is the released code's "diag-lin", S4D-Lin (arXiv 2206.11893):
    A_n = -1/2 + i pi n, B = 1, C normal, D normal(0, 1), steps log-uniform between 1e-3 and 1e-1.
    As there, A, B and the steps have no weight decay.

    The recipe "published" is that of Based's Figure 2: the shift also learns its B, which starts as
    e_1 and makes the kernel sum_m B_m C_{m+n}, and all parameters have weight decay.

    State: ``shift`` (batch, N - 1, d_model), the last keys, and ``diagonal``
    (batch, heads, head_dim, head_dim, N / 2), complex.
    """

    def __init__(self, d_model: int, d_state: int = 16, head_dim: int = 1, recipe: str = "default"):
        super().__init__(d_model)
        heads, modes = d_model // head_dim, d_state // 2
        self.head_dim = head_dim
        self.q_proj = Linear(d_model, d_model)
        self.k_proj = Linear(d_model, d_model)
        self.v_proj = Linear(d_model, d_model)
        self.out_proj = Linear(d_model, d_model)
        bound = d_state**-0.5
        self.shift_C = nn.Parameter(torch.empty(d_model, d_state).uniform_(-bound, bound))
        self.shift_D = nn.Parameter(torch.randn(d_model))
        self.log_dt = nn.Parameter(
            torch.empty(heads, 1).uniform_(math.log(DT_MIN), math.log(DT_MAX))
        )
        self.log_A_real = nn.Parameter(torch.full((heads, modes), math.log(0.5)))
        self.A_imag = nn.Parameter(math.pi * torch.arange(modes).repeat(heads, 1))
        self.B = nn.Parameter(torch.tensor([1.0, 0.0]).repeat(heads, modes, 1))  # real, imaginary
        self.C = nn.Parameter(torch.randn(heads, modes, 2) * math.sqrt(0.5))
        self.D = nn.Parameter(torch.randn(heads))
        self.learns_shift = recipe == "published"
        if self.learns_shift:
            first = F.one_hot(torch.zeros(d_model, dtype=torch.int64), d_state)
            self.shift_B = nn.Parameter(first.to(self.shift_C.dtype))
        else:
            exempt_from_decay(self.log_dt, self.log_A_real, self.A_imag, self.B)

    def mix(self, x: Tensor, carry: Carry) -> Tensor:
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        k = carry("shift", self._shift, k)
        kv = outer(self._heads(k), self._heads(v))  # (B, H, p, p, L)
        y = carry("diagonal", s4d, kv, *self._modes(), self.D)
        return contract(self._heads(q), y).flatten(-2)

    def finish(self, y: Tensor) -> Tensor:
        return self.out_proj(y)

    def _shift(
        self, k: Tensor, initial_state: Tensor | None = None, return_state: bool = False
    ) -> Any:
        """The shift SSM: (B, L, d) -> the same; the state is the last N - 1 keys."""
        taps = self._taps()
        if taps.shape[1] <= SHORT or initial_state is not None or k.shape[1] == 0:
            return short_conv(
                k, taps.flip(-1), initial_state=initial_state, return_state=return_state
            )
        y = long_conv(k.mT, taps).mT
        if not return_state:
            return y
        tail = taps.shape[1] - 1
        return y, F.pad(k, (0, 0, tail, 0))[:, k.shape[1] :].clone()

    def _heads(self, x: Tensor) -> Tensor:
        """(…, d) -> (…, H, p) with p = head_dim."""
        return x.unflatten(-1, (-1, self.head_dim))

    def _taps(self) -> Tensor:
        """The kernel of the shift SSM with its skip (d, N), the current token first."""
        taps: Tensor = self.shift_C
        n = taps.shape[1]
        if self.learns_shift:
            later = F.pad(taps, (0, n - 1)).unfold(1, n, 1)  # (d, N, N): C_{n+m}
            taps = (later * self.shift_B[:, None]).sum(-1)
        return (taps + F.pad(self.shift_D[:, None], (0, n - 1))).to(self._dtype)

    def _modes(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        return self.log_dt, self.log_A_real, self.A_imag, self.B, self.C

    @property
    def _dtype(self) -> torch.dtype:
        return torch.promote_types(self.D.dtype, torch.float32)
