"""One token of the selective scan."""
# mypy: disable-error-code="no-untyped-def, index"

import triton
import triton.language as tl

from recall_bench.kernels.plumbing.triton_tiles import LOG2_E, sigmoid
from recall_bench.kernels.selective_scan.triton_tile import softplus


@triton.jit
def step_kernel(
    u, delta, A, B, C, D, z, bias, h, y, new_h, u_b, delta_b, B_b, C_b, z_b, W, n_state,
    SKIP: tl.constexpr, GATE: tl.constexpr, BIAS: tl.constexpr, SOFTPLUS: tl.constexpr,
    C_TILE: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """One token; tiles (C, N)."""
    b = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * C_TILE + tl.arange(0, C_TILE)
    n = tl.arange(0, N)
    inside = (c < W)[:, None] & (n < n_state)[None, :]
    state = c[:, None] * n_state + n[None, :]
    rate = tl.load(A + state, mask=inside, other=0.0).to(tl.float32) * LOG2_E
    x = tl.load(u + b * u_b + c, mask=c < W, other=0.0).to(tl.float32)
    step = tl.load(delta + b * delta_b + c, mask=c < W, other=0.0).to(tl.float32)
    B_n = tl.load(B + b * B_b + n, mask=n < n_state, other=0.0).to(tl.float32)
    C_n = tl.load(C + b * C_b + n, mask=n < n_state, other=0.0).to(tl.float32)
    if BIAS:
        step += tl.load(bias + c, mask=c < W, other=0.0).to(tl.float32)
    if SOFTPLUS:
        step, _ = softplus(step)
    old = tl.load(h + b * W * n_state + state, mask=inside, other=0.0)
    new = tl.exp2(step[:, None] * rate) * old + (step * x)[:, None] * B_n[None, :]
    tl.store(new_h + b * W * n_state + state, new, mask=inside)
    out = tl.sum(new * C_n[None, :], 1)
    if SKIP:
        out += tl.load(D + c, mask=c < W, other=0.0).to(tl.float32) * x
    if GATE:
        gate = tl.load(z + b * z_b + c, mask=c < W, other=0.0).to(tl.float32)
        out *= gate * sigmoid(gate)
    tl.store(y + b * W + c, out.to(y.dtype.element_ty), mask=c < W)
