"""The backward pass of the selective scan; tiles as in `triton_tile`."""
# mypy: disable-error-code="no-untyped-def, index"

import triton
import triton.language as tl

from recall_bench.kernels.plumbing.triton_tiles import LN_2, LOG2_E, load_at, sigmoid, store_at
from recall_bench.kernels.selective_scan.triton_tile import (
    by_channel,
    by_state,
    offsets,
    step_size,
    sum_over_channels,
    sum_over_states,
    token,
    unmoved,
)


@triton.jit
def after_chunk(
    h, rate, u, delta, B, u_t, delta_t, B_t, shift, left, c, n, W, n_state,
    SOFTPLUS: tl.constexpr, WHOLE: tl.constexpr, T: tl.constexpr, S: tl.constexpr,
    J: tl.constexpr, V: tl.constexpr, P: tl.constexpr, Q: tl.constexpr,
):  # fmt: skip
    """The state after a chunk that begins with the state h."""
    t = tl.arange(0, T)[:, None]
    t_wide = t.to(tl.int64)
    time = tl.reshape(tl.arange(0, T), (T, 1, 1, 1, 1, 1))
    in_c = tl.full((T, J * V * Q), True, tl.int1)
    in_n = tl.full((T, S * P), True, tl.int1)
    if not WHOLE:
        in_c = (t < left) & (c < W)
        in_n = (t < left) & (n < n_state)
    x = load_at(u, t_wide * u_t + c, in_c)
    raw = unmoved(load_at(delta, t_wide * delta_t + c, in_c), x)
    step, _ = step_size(raw, shift, in_c, SOFTPLUS)
    B_tile = load_at(B, t_wide * B_t + n, in_n)
    decay = tl.exp2(by_channel(step, T, S, J, V, P, Q) * rate)
    B_all = by_state(B_tile, T, S, J, V, P, Q)
    added = by_channel(step * x, T, S, J, V, P, Q) * B_all
    for k in tl.static_range(T):
        h = token(decay, time, k) * h + token(added, time, k)
    return h


@triton.jit(do_not_specialize=["L", "spans", "zero"])
def backward_kernel(
    u, delta, A, B, C, D, z, bias, starts, dy, dh_last,
    du, d_delta, dz, dA, dBC, dD_bias, dh0,
    u_b, u_t, delta_b, delta_t, B_b, B_t, C_b, C_t, z_b, z_t, dy_b, dy_t,
    L, W, n_state, spans, zero,
    SKIP: tl.constexpr, GATE: tl.constexpr, BIAS: tl.constexpr, SOFTPLUS: tl.constexpr,
    INITIAL: tl.constexpr, FINAL: tl.constexpr, WHOLE: tl.constexpr, HALVES: tl.constexpr,
    STAGES: tl.constexpr, SPAN: tl.constexpr, T: tl.constexpr, S: tl.constexpr, J: tl.constexpr,
    V: tl.constexpr, P: tl.constexpr, Q: tl.constexpr,
):  # fmt: skip
    """Takes the chunks in reverse: forward through one from its start, then back through it. The
    forward pass saved only the first start in each span of SPAN chunks; this kernel recomputes the
    others.

    g_t = C_t dy_t + a_{t+1} g_{t+1} is the gradient of h_t; ``carry`` is a_t g_t. The caller sums
    the programs' parts of dA (batch, W, N), of the gradients of D and the bias (batch, 2, W), and
    of dB and dC (2, blocks, batch, L, N). du, d_delta and dz are contiguous.
    """
    b = tl.program_id(0).to(tl.int64)
    batch = tl.num_programs(0)
    block = tl.program_id(1)
    blocks = tl.num_programs(1)
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
    carry = tl.zeros((1, S, J, V, P, Q), tl.float32)
    if FINAL:
        carry += tl.load(dh_last + b * W * n_state + state, mask=exists, other=0.0)
    dA_sum = tl.zeros((1, S, J, V, P, Q), tl.float32)
    dD_sum = tl.zeros((T, J * V * Q), tl.float32)
    d_bias_sum = tl.zeros((T, J * V * Q), tl.float32)
    final = (spans * SPAN - 1).to(tl.int64) * T
    u += b * u_b + final * u_t
    delta += b * delta_b + final * delta_t
    B += b * B_b + final * B_t
    C += b * C_b + final * C_t
    z += b * z_b + final * z_t
    dy += b * dy_b + final * dy_t
    du += (b * L + final) * W
    d_delta += (b * L + final) * W
    dz += (b * L + final) * W
    dB = dBC + ((block * batch + b) * L + final) * n_state
    dC = dBC + (((blocks + block) * batch + b) * L + final) * n_state
    held = tl.full(kept.shape, True, tl.int1) if WHOLE else exists
    start_size = tl.cdiv(W, J * Q).to(tl.int64) * (S * J * P * Q)
    starts += (b * spans + spans - 1) * start_size + block * (S * J * V * P * Q)
    start = tl.load(starts + kept, mask=held, other=0.0)
    for i in tl.range(spans, num_stages=STAGES):
        first = start.to(tl.float32)
        starts -= tl.where(i < spans - 1, start_size, 0)
        start = tl.load(starts + kept, mask=held, other=0.0)  # of the next span
        for later in tl.static_range(SPAN):
            left = L - ((spans - 1 - i) * SPAN + SPAN - 1 - later) * T
            h = first
            for k in tl.static_range(SPAN - 1 - later):
                back = (SPAN - 1 - later - k) * T
                h = after_chunk(
                    h, rate, u - back * u_t, delta - back * delta_t, B - back * B_t, u_t, delta_t,
                    B_t, shift, left + back, c, n, W, n_state, SOFTPLUS, WHOLE, T, S, J, V, P, Q,
                )  # fmt: skip
            in_c = tl.full((T, J * V * Q), True, tl.int1)
            in_n = tl.full((T, S * P), True, tl.int1)
            if not WHOLE:
                in_c = (t < left) & (c < W)
                in_n = (t < left) & (n < n_state)
            x = load_at(u, t_wide * u_t + c, in_c)
            raw = unmoved(load_at(delta, t_wide * delta_t + c, in_c), x)
            step, slope = step_size(raw, shift, in_c, SOFTPLUS)
            B_tile = load_at(B, t_wide * B_t + n, in_n)
            C_tile = load_at(C, t_wide * C_t + n, in_n)
            dout = unmoved(load_at(dy, t_wide * dy_t + c, in_c), x)
            if GATE:
                gate = load_at(z, t_wide * z_t + c, in_c)
                half = sigmoid(gate)
                d_gate = dout * half * (1.0 + gate * (1.0 - half))
                dout *= gate * half
            B_all = by_state(B_tile, T, S, J, V, P, Q)
            C_all = by_state(C_tile, T, S, J, V, P, Q)
            step_all = by_channel(step, T, S, J, V, P, Q)
            added_all = by_channel(step * x, T, S, J, V, P, Q)
            dout_all = by_channel(dout, T, S, J, V, P, Q)
            decay = tl.exp2(step_all * rate)
            decayed = tl.zeros((T, S, J, V, P, Q), tl.float32)  # a_t h_{t-1}
            dC_part = tl.zeros((T, S, V, P, Q), tl.float32)
            out = tl.zeros((T, J, V, P, Q), tl.float32)
            for k in tl.static_range(T):
                old = token(decay, time, k) * h
                h = old + token(added_all, time, k) * token(B_all, time, k)
                decayed = tl.where(time == k, old, decayed)
                dC_k = tl.sum(h * token(dout_all, time, k), 2)
                dC_part = tl.where(time_summed == k, dC_k, dC_part)
                if GATE:
                    out = tl.where(time_summed == k, tl.sum(h * token(C_all, time, k), 1), out)
            store_at(dC, t * n_state + n, sum_over_channels(dC_part, HALVES), in_n)
            if GATE:
                ungated = sum_over_states(out, HALVES)
                if SKIP:
                    ungated += skip * x
                store_at(dz, t * W + c, d_gate * ungated, in_c)
            dB_part = tl.zeros((T, S, V, P, Q), tl.float32)
            d_added_part = tl.zeros((T, J, V, P, Q), tl.float32)
            d_step_part = tl.zeros((T, J, V, P, Q), tl.float32)
            for m in tl.static_range(T):
                g = token(dout_all, time, T - 1 - m) * token(C_all, time, T - 1 - m) + carry
                carry = token(decay, time, T - 1 - m) * g
                d_exponent = g * token(decayed, time, T - 1 - m)
                dA_sum += d_exponent * token(step_all, time, T - 1 - m)
                here = time_summed == T - 1 - m
                dB_k = tl.sum(g * token(added_all, time, T - 1 - m), 2)
                dB_part = tl.where(here, dB_k, dB_part)
                d_added_k = tl.sum(g * token(B_all, time, T - 1 - m), 1)
                d_added_part = tl.where(here, d_added_k, d_added_part)
                d_step_part = tl.where(here, tl.sum(d_exponent * rate, 1), d_step_part)
            store_at(dB, t * n_state + n, sum_over_channels(dB_part, HALVES), in_n)
            d_added = sum_over_states(d_added_part, HALVES)  # of delta_t u_t
            d_step = d_added * x + LN_2 * sum_over_states(d_step_part, HALVES)
            dx = d_added * step
            if SKIP:
                dx += dout * skip
                dD_sum += dout * x
            store_at(du, t * W + c, dx, in_c)
            d_step *= slope
            store_at(d_delta, t * W + c, d_step, in_c)
            if BIAS:
                d_bias_sum += tl.where(in_c, d_step, 0.0)
            u -= u_t * T
            delta -= delta_t * T
            B -= B_t * T
            C -= C_t * T
            z -= z_t * T
            dy -= dy_t * T
            du -= W * T
            d_delta -= W * T
            dz -= W * T
            dB -= n_state * T
            dC -= n_state * T
    if INITIAL:
        tl.store(dh0 + b * W * n_state + state, carry, mask=exists)
    tl.store(dA + b * W * n_state + state, dA_sum, mask=exists)
    channels = block * (J * V * Q) + tl.arange(0, J * V * Q)
    if SKIP:
        tl.store(dD_bias + 2 * b * W + channels, tl.sum(dD_sum, 0), mask=channels < W)
    if BIAS:
        d_bias = dD_bias + (2 * b + 1) * W + channels
        tl.store(d_bias, tl.sum(d_bias_sum, 0), mask=channels < W)
