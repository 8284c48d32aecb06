"""The forward pass of the selective scan; tiles as in `triton_tile`."""
# mypy: disable-error-code="no-untyped-def, index"

import triton
import triton.language as tl

from recall_bench.kernels.plumbing.triton_tiles import LOG2_E, load_at, sigmoid, store_at
from recall_bench.kernels.selective_scan.triton_tile import (
    by_channel,
    by_state,
    offsets,
    step_size,
    sum_over_states,
    token,
    unmoved,
)


@triton.jit(do_not_specialize=["L", "chunks", "zero"])
def forward_kernel(
    u, delta, A, B, C, D, z, bias, h0, y, h_last, starts,
    u_b, u_t, delta_b, delta_t, B_b, B_t, C_b, C_t, z_b, z_t, L, W, n_state, chunks, zero,
    SKIP: tl.constexpr, GATE: tl.constexpr, BIAS: tl.constexpr, SOFTPLUS: tl.constexpr,
    INITIAL: tl.constexpr, EVERY: tl.constexpr, WHOLE: tl.constexpr, HALVES: tl.constexpr,
    STAGES: tl.constexpr, T: tl.constexpr, S: tl.constexpr, J: tl.constexpr, V: tl.constexpr,
    P: tl.constexpr, Q: tl.constexpr,
):  # fmt: skip
    """One program: one sequence, C channels. It writes the state before each EVERY-th chunk to
    ``starts`` (batch, spans, warps' blocks, N C / V), none if EVERY is 0. WHOLE: no chunk, channel
    block or state is padded."""
    b = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    c = block * (J * V * Q) + tl.arange(0, J * V * Q)[None, :]
    n = tl.arange(0, S * P)[None, :]
    t = tl.arange(0, T)[:, None]
    t_wide = t.to(tl.int64)
    time = tl.reshape(tl.arange(0, T), (T, 1, 1, 1, 1, 1))
    time_summed = tl.reshape(tl.arange(0, T), (T, 1, 1, 1, 1))
    c_tile, n_tile, state, kept = offsets(block * (J * V * Q), n_state, zero, S, J, V, P, Q)
    exists = (c_tile < W) & (n_tile < n_state)
    rate = tl.load(A + state, mask=exists, other=0.0).to(tl.float32) * LOG2_E
    skip = tl.load(D + c, mask=c < W, other=0.0).to(tl.float32) if SKIP else 0.0
    shift = tl.load(bias + c, mask=c < W, other=0.0).to(tl.float32) if BIAS else 0.0
    h = tl.zeros((1, S, J, V, P, Q), tl.float32)
    if INITIAL:
        h += tl.load(h0 + b * W * n_state + state, mask=exists, other=0.0)
    u += b * u_b
    delta += b * delta_b
    B += b * B_b
    C += b * C_b
    z += b * z_b
    y += b * L * W
    start_size = tl.cdiv(W, J * Q).to(tl.int64) * (S * J * P * Q)
    if EVERY:
        starts += b * tl.cdiv(chunks, EVERY) * start_size + block * (S * J * V * P * Q)
    for i in tl.range(chunks, num_stages=STAGES):
        left = L - i * T
        in_c = tl.full((T, J * V * Q), True, tl.int1)
        in_n = tl.full((T, S * P), True, tl.int1)
        if not WHOLE:
            in_c = (t < left) & (c < W)
            in_n = (t < left) & (n < n_state)
        if EVERY:
            keep = i % EVERY == 0
            keep = keep if WHOLE else exists & keep
            tl.store(starts + kept, h.to(starts.dtype.element_ty), mask=keep)
            starts += tl.where(i % EVERY == EVERY - 1, start_size, 0)
        x = load_at(u, t_wide * u_t + c, in_c)
        raw = unmoved(load_at(delta, t_wide * delta_t + c, in_c), x)
        step, _ = step_size(raw, shift, in_c, SOFTPLUS)
        B_tile = load_at(B, t_wide * B_t + n, in_n)
        C_tile = load_at(C, t_wide * C_t + n, in_n)
        B_all = by_state(B_tile, T, S, J, V, P, Q)
        C_all = by_state(C_tile, T, S, J, V, P, Q)
        decay = tl.exp2(by_channel(step, T, S, J, V, P, Q) * rate)
        added = by_channel(step * x, T, S, J, V, P, Q) * B_all
        out = tl.zeros((T, J, V, P, Q), tl.float32)
        for k in tl.static_range(T):
            h = token(decay, time, k) * h + token(added, time, k)
            out = tl.where(time_summed == k, tl.sum(h * token(C_all, time, k), 1), out)
        y_tile = sum_over_states(out, HALVES)
        if SKIP:
            y_tile += skip * x
        if GATE:
            gate = load_at(z, t_wide * z_t + c, in_c)
            y_tile *= gate * sigmoid(gate)
        store_at(y, t * W + c, y_tile, in_c)
        u += u_t * T
        delta += delta_t * T
        B += B_t * T
        C += C_t * T
        z += z_t * T
        y += W * T
    tl.store(h_last + b * W * n_state + state, h, mask=exists)
