"""The Triton kernels of the selective scan; `triton.py` launches them.

A tile is (T, S, J, V, P, Q): T tokens of a chunk, N = S P states of each of C = J V Q channels. A
thread holds S states of J channels for all T tokens; the P Q = 32 threads of a warp and the V warps
share out the rest. The layout follows from the shape alone: Triton gives the last dimensions to
threads and warps and leaves the first ones in registers. So the recurrence goes through a chunk
token by token without a word between threads, and the sums over states and over channels begin
within a thread.
"""
# mypy: disable-error-code="no-untyped-def, index"

import triton
import triton.language as tl

LOG2_E: tl.constexpr = tl.constexpr(1.4426950408889634)
LOG_2: tl.constexpr = tl.constexpr(0.6931471805599453)


@triton.jit
def _reciprocal(x):
    """1 / x for positive x: two instructions, where a division takes eight."""
    root = tl.rsqrt(x)
    return root * root


@triton.jit
def sigmoid(x):
    return _reciprocal(1.0 + tl.exp2(-x * LOG2_E))


@triton.jit
def softplus(x):
    """log(1 + exp(x)) and its derivative.

    log(1 + e) = 2 artanh(e / (2 + e)), whose series is good to float32 after six terms (e <= 1).
    """
    e = tl.exp2(-tl.abs(x) * LOG2_E)
    s = e * _reciprocal(2.0 + e)
    square = s * s
    series = square * (1 / 11) + 1 / 9
    series = square * series + 1 / 7
    series = square * series + 1 / 5
    series = square * series + 1 / 3
    series = square * series + 1.0
    r = _reciprocal(1.0 + e)
    return tl.maximum(x, 0.0) + 2.0 * s * series, tl.where(x < 0.0, e * r, r)


@triton.jit
def _load(x, at, inside):
    return tl.load(x + at, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _store(x, at, value, inside):
    tl.store(x + at, value.to(x.dtype.element_ty), mask=inside)


@triton.jit
def _unmoved(x, other):
    """x, as the sum of two loaded tiles: the compiler would postpone the widening of only one
    until every thread has its copy, and with it all arithmetic in between."""
    return x + (other - other)


@triton.jit
def _step_size(raw, shift, inside, SOFTPLUS: tl.constexpr):
    """delta (T, C), 0 outside the sequence, and its derivative by the raw value."""
    raw += shift
    delta = raw
    slope = tl.full(raw.shape, 1.0, tl.float32)
    if SOFTPLUS:
        delta, slope = softplus(raw)
    return tl.where(inside, delta, 0.0), slope


@triton.jit
def _by_channel(
    x, T: tl.constexpr, S: tl.constexpr, J: tl.constexpr, V: tl.constexpr, P: tl.constexpr,
    Q: tl.constexpr,
):  # fmt: skip
    """(T, C) -> (T, S, J, V, P, Q), the same for all states."""
    x = tl.permute(tl.reshape(x, (T, V, Q, J)), (0, 3, 1, 2))
    return tl.broadcast_to(x[:, None, :, :, None, :], (T, S, J, V, P, Q))


@triton.jit
def _by_state(
    x, T: tl.constexpr, S: tl.constexpr, J: tl.constexpr, V: tl.constexpr, P: tl.constexpr,
    Q: tl.constexpr,
):  # fmt: skip
    """(T, N) -> (T, S, J, V, P, Q), the same for all channels."""
    x = tl.permute(tl.reshape(x, (T, P, S)), (0, 2, 1))
    return tl.broadcast_to(x[:, :, None, None, :, None], (T, S, J, V, P, Q))


@triton.jit
def _token(x, time, k: tl.constexpr):
    """x[k:k+1]; costs nothing, since every thread has all tokens in registers."""
    bits = tl.where(time == k, x.to(tl.int32, bitcast=True), 0)
    return tl.sum(bits, 0, keep_dims=True).to(tl.float32, bitcast=True)


@triton.jit
def _sum_pairs(x, count: tl.constexpr):
    a, b = tl.split(tl.reshape(x, (count, 2)))
    return a + b


@triton.jit
def _sum_over_states(x, HALVES: tl.constexpr):
    """(T, J, V, P, Q), summed over S already -> (T, C).

    Splitting moves the sum between threads through shared memory, in a few wide accesses.
    """
    T: tl.constexpr = x.shape[0]
    C: tl.constexpr = x.shape[1] * x.shape[2] * x.shape[4]
    P: tl.constexpr = x.shape[3]
    x = tl.permute(x, (0, 2, 4, 1, 3))
    if HALVES and P > 1:
        x = tl.reshape(_sum_pairs(x, T * C * P // 2), (T, C, P // 2))
    else:
        x = tl.reshape(x, (T, C, P))
    return tl.sum(x, 2)


@triton.jit
def _sum_over_channels(x, HALVES: tl.constexpr):
    """(T, S, V, P, Q), summed over J already -> (T, N)."""
    T: tl.constexpr = x.shape[0]
    N: tl.constexpr = x.shape[1] * x.shape[3]
    Q: tl.constexpr = x.shape[2] * x.shape[4]
    x = tl.permute(x, (0, 3, 1, 2, 4))
    if HALVES and Q > 3:
        x = _sum_pairs(_sum_pairs(x, T * N * Q // 2), T * N * Q // 4)
        x = tl.reshape(x, (T, N, Q // 4))
    else:
        x = tl.reshape(x, (T, N, Q))
    return tl.sum(x, 2)


@triton.jit
def _offsets(
    first, n_state, zero, S: tl.constexpr, J: tl.constexpr, V: tl.constexpr,
    P: tl.constexpr, Q: tl.constexpr,
):  # fmt: skip
    """Channel and state of each element of a tile (1, S, J, V, P, Q), its offset in a (W, N)
    tensor, and its offset in a chunk's start, which is stored as the threads hold it.

    The declared contiguity orders the dimensions for the layout, and ``zero``, which the compiler
    takes for any number, keeps it from widening the accesses: both so that loads have the layout
    of the arithmetic.
    """
    s = tl.arange(0, S)[None, :, None, None, None, None]
    j = tl.arange(0, J)[None, None, :, None, None, None]
    v = tl.arange(0, V)[None, None, None, :, None, None]
    p = tl.arange(0, P)[None, None, None, None, :, None]
    q = tl.arange(0, Q)[None, None, None, None, None, :]
    c = first + (v * Q + q) * J + j
    n = p * S + s
    state = tl.max_contiguous(c * n_state + n + zero, [1, 1, 1, 2, 4, 8])
    kept = tl.max_contiguous((((s * J + j) * V + v) * P + p) * Q + q + zero, [1, 1, 1, 2, 4, 8])
    return c, n, state, kept


@triton.jit(do_not_specialize=["L", "chunks", "zero"])
def forward_kernel(
    u, delta, A, B, C, D, z, bias, h0, y, h_last, starts,
    u_b, u_t, delta_b, delta_t, B_b, B_t, C_b, C_t, z_b, z_t, L, W, n_state, chunks, zero,
    SKIP: tl.constexpr, GATE: tl.constexpr, BIAS: tl.constexpr, SOFTPLUS: tl.constexpr,
    INITIAL: tl.constexpr, KEEP: tl.constexpr, WHOLE: tl.constexpr, HALVES: tl.constexpr,
    STAGES: tl.constexpr, T: tl.constexpr, S: tl.constexpr, J: tl.constexpr, V: tl.constexpr,
    P: tl.constexpr, Q: tl.constexpr,
):  # fmt: skip
    """One program: one sequence, C channels. ``starts`` (batch, chunks, blocks, N C) gets the
    state before each chunk. WHOLE: no chunk, channel block or state is padded."""
    TILE: tl.constexpr = S * J * V * P * Q
    b = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    c = block * (J * V * Q) + tl.arange(0, J * V * Q)[None, :]
    n = tl.arange(0, S * P)[None, :]
    t = tl.arange(0, T)[:, None]
    t_wide = t.to(tl.int64)
    time = tl.reshape(tl.arange(0, T), (T, 1, 1, 1, 1, 1))
    time_summed = tl.reshape(tl.arange(0, T), (T, 1, 1, 1, 1))
    c_tile, n_tile, state, kept = _offsets(block * (J * V * Q), n_state, zero, S, J, V, P, Q)
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
    starts += (b * chunks * tl.num_programs(1) + block) * TILE
    for i in tl.range(chunks, num_stages=STAGES):
        left = L - i * T
        in_c = tl.full((T, J * V * Q), True, tl.int1)
        in_n = tl.full((T, S * P), True, tl.int1)
        if not WHOLE:
            in_c = (t < left) & (c < W)
            in_n = (t < left) & (n < n_state)
        if KEEP:
            tl.store(starts + kept, h.to(starts.dtype.element_ty))
        x = _load(u, t_wide * u_t + c, in_c)
        raw = _unmoved(_load(delta, t_wide * delta_t + c, in_c), x)
        step, _ = _step_size(raw, shift, in_c, SOFTPLUS)
        B_tile = _load(B, t_wide * B_t + n, in_n)
        C_tile = _load(C, t_wide * C_t + n, in_n)
        B_all = _by_state(B_tile, T, S, J, V, P, Q)
        C_all = _by_state(C_tile, T, S, J, V, P, Q)
        decay = tl.exp2(_by_channel(step, T, S, J, V, P, Q) * rate)
        added = _by_channel(step * x, T, S, J, V, P, Q) * B_all
        out = tl.zeros((T, J, V, P, Q), tl.float32)
        for k in tl.static_range(T):
            h = _token(decay, time, k) * h + _token(added, time, k)
            out = tl.where(time_summed == k, tl.sum(h * _token(C_all, time, k), 1), out)
        y_tile = _sum_over_states(out, HALVES)
        if SKIP:
            y_tile += skip * x
        if GATE:
            gate = _load(z, t_wide * z_t + c, in_c)
            y_tile *= gate * sigmoid(gate)
        _store(y, t * W + c, y_tile, in_c)
        u += u_t * T
        delta += delta_t * T
        B += B_t * T
        C += C_t * T
        z += z_t * T
        y += W * T
        starts += tl.num_programs(1).to(tl.int64) * TILE
    tl.store(h_last + b * W * n_state + state, h, mask=exists)


@triton.jit(do_not_specialize=["L", "chunks", "zero"])
def backward_kernel(
    u, delta, A, B, C, D, z, bias, starts, dy, dh_last,
    du, d_delta, dz, dA, dBC, dD_bias, dh0,
    u_b, u_t, delta_b, delta_t, B_b, B_t, C_b, C_t, z_b, z_t, dy_b, dy_t,
    L, W, n_state, chunks, zero,
    SKIP: tl.constexpr, GATE: tl.constexpr, BIAS: tl.constexpr, SOFTPLUS: tl.constexpr,
    INITIAL: tl.constexpr, FINAL: tl.constexpr, WHOLE: tl.constexpr, HALVES: tl.constexpr,
    STAGES: tl.constexpr, T: tl.constexpr, S: tl.constexpr, J: tl.constexpr, V: tl.constexpr,
    P: tl.constexpr, Q: tl.constexpr,
):  # fmt: skip
    """Chunks in reverse: forward through one from its start, then back through it.

    g_t = C_t dy_t + a_{t+1} g_{t+1} is the gradient of h_t; ``carry`` is a_t g_t. This program's
    parts of dA (batch, W, N), of those of D and the bias, (2, batch, W), and of dB and dC,
    (2, blocks, batch, L, N), are to be summed. du, d_delta and dz are contiguous.
    """
    TILE: tl.constexpr = S * J * V * P * Q
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
    c_tile, n_tile, state, kept = _offsets(block * (J * V * Q), n_state, zero, S, J, V, P, Q)
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
    final = (chunks - 1).to(tl.int64) * T
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
    starts += ((b * chunks + chunks - 1) * blocks + block) * TILE
    start = tl.load(starts + kept)
    for i in tl.range(chunks, num_stages=STAGES):
        left = L - (chunks - 1 - i) * T
        h = start.to(tl.float32)
        starts -= tl.where(i < chunks - 1, blocks.to(tl.int64) * TILE, 0)
        start = tl.load(starts + kept)  # of the next chunk
        in_c = tl.full((T, J * V * Q), True, tl.int1)
        in_n = tl.full((T, S * P), True, tl.int1)
        if not WHOLE:
            in_c = (t < left) & (c < W)
            in_n = (t < left) & (n < n_state)
        x = _load(u, t_wide * u_t + c, in_c)
        raw = _unmoved(_load(delta, t_wide * delta_t + c, in_c), x)
        step, slope = _step_size(raw, shift, in_c, SOFTPLUS)
        B_tile = _load(B, t_wide * B_t + n, in_n)
        C_tile = _load(C, t_wide * C_t + n, in_n)
        dout = _unmoved(_load(dy, t_wide * dy_t + c, in_c), x)
        if GATE:
            gate = _load(z, t_wide * z_t + c, in_c)
            half = sigmoid(gate)
            d_gate = dout * half * (1.0 + gate * (1.0 - half))
            dout *= gate * half
        B_all = _by_state(B_tile, T, S, J, V, P, Q)
        C_all = _by_state(C_tile, T, S, J, V, P, Q)
        step_all = _by_channel(step, T, S, J, V, P, Q)
        added_all = _by_channel(step * x, T, S, J, V, P, Q)
        dout_all = _by_channel(dout, T, S, J, V, P, Q)
        decay = tl.exp2(step_all * rate)
        decayed = tl.zeros((T, S, J, V, P, Q), tl.float32)  # a_t h_{t-1}
        dC_part = tl.zeros((T, S, V, P, Q), tl.float32)
        out = tl.zeros((T, J, V, P, Q), tl.float32)
        for k in tl.static_range(T):
            old = _token(decay, time, k) * h
            h = old + _token(added_all, time, k) * _token(B_all, time, k)
            decayed = tl.where(time == k, old, decayed)
            dC_k = tl.sum(h * _token(dout_all, time, k), 2)
            dC_part = tl.where(time_summed == k, dC_k, dC_part)
            if GATE:
                out = tl.where(time_summed == k, tl.sum(h * _token(C_all, time, k), 1), out)
        _store(dC, t * n_state + n, _sum_over_channels(dC_part, HALVES), in_n)
        if GATE:
            ungated = _sum_over_states(out, HALVES)
            if SKIP:
                ungated += skip * x
            _store(dz, t * W + c, d_gate * ungated, in_c)
        dB_part = tl.zeros((T, S, V, P, Q), tl.float32)
        d_added_part = tl.zeros((T, J, V, P, Q), tl.float32)
        d_step_part = tl.zeros((T, J, V, P, Q), tl.float32)
        for m in tl.static_range(T):
            g = _token(dout_all, time, T - 1 - m) * _token(C_all, time, T - 1 - m) + carry
            carry = _token(decay, time, T - 1 - m) * g
            d_exponent = g * _token(decayed, time, T - 1 - m)
            dA_sum += d_exponent * _token(step_all, time, T - 1 - m)
            here = time_summed == T - 1 - m
            dB_k = tl.sum(g * _token(added_all, time, T - 1 - m), 2)
            dB_part = tl.where(here, dB_k, dB_part)
            d_added_k = tl.sum(g * _token(B_all, time, T - 1 - m), 1)
            d_added_part = tl.where(here, d_added_k, d_added_part)
            d_step_part = tl.where(here, tl.sum(d_exponent * rate, 1), d_step_part)
        _store(dB, t * n_state + n, _sum_over_channels(dB_part, HALVES), in_n)
        d_added = _sum_over_states(d_added_part, HALVES)  # of delta_t u_t
        d_step = d_added * x + LOG_2 * _sum_over_states(d_step_part, HALVES)
        dx = d_added * step
        if SKIP:
            dx += dout * skip
            dD_sum += dout * x
        _store(du, t * W + c, dx, in_c)
        d_step *= slope
        _store(d_delta, t * W + c, d_step, in_c)
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
        tl.store(dD_bias + b * W + channels, tl.sum(dD_sum, 0), mask=channels < W)
    if BIAS:
        d_bias = dD_bias + (batch + b) * W + channels
        tl.store(d_bias, tl.sum(d_bias_sum, 0), mask=channels < W)


@triton.jit(do_not_specialize=["count"])
def sum_parts_kernel(parts, total, count, size, ROWS: tl.constexpr, TILE: tl.constexpr):
    """parts (groups, count, size) -> total (groups, size), added in a fixed order."""
    group = tl.program_id(1).to(tl.int64)
    row = tl.arange(0, ROWS)[:, None]
    at = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
    parts += group * count * size
    summed = tl.zeros((ROWS, TILE), tl.float32)
    for first in range(0, count, ROWS):
        inside = (first + row < count) & (at < size)[None, :]
        offset = (first + row).to(tl.int64) * size + at[None, :]
        summed += tl.load(parts + offset, mask=inside, other=0.0).to(tl.float32)
    value = tl.sum(summed, 0).to(total.dtype.element_ty)
    tl.store(total + group * size + at, value, mask=at < size)


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
