"""The two walks along a sequence that compute outputs and gradients, 16 tokens at a time.

One computes the outputs; backwards in time, with r and k exchanged, it computes the gradient of v.
The other computes the gradient of r, and backwards in time that of k.

Inside a chunk the walk computes the scores r_i diag(w^(i-1-j)) k_j level by level: at level s = 1,
2, 4, 8 those between neighbouring blocks of s tokens, where the decay splits at the blocks' border
into nonnegative powers of w on either side. A token's power grows by one factor per level, and
after the last one it is the decay between the token and the chunk's end.

Chunks are aligned to the end of the sequence, and zero tokens fill the first one: they only decay
a state of zeros, or backwards in time come after the last state that anyone reads.

Dimensions: C tokens of a chunk, rows i and j; d channels of r and k padded to D, dv of v to E. A
program of the second walk takes D of the channels, from ``c0`` on.
"""
# mypy: disable-error-code="no-untyped-def, assignment"

import triton
import triton.language as tl

from recall_bench.kernels.plumbing.triton_tiles import LOG2_E, dot

C: tl.constexpr = tl.constexpr(16)
LEVELS: tl.constexpr = tl.constexpr(4)


@triton.jit
def positions(n, L, REVERSE: tl.constexpr):
    """The positions of the tokens of a walk's n-th chunk (C, 1), below 0 for zero tokens."""
    i = tl.arange(0, C)[:, None]
    if REVERSE:
        t = L - 1 - n * C - i
    else:
        t = L - (tl.cdiv(L, C) - n) * C + i
    return t.to(tl.int64)


@triton.jit
def load_rows(x, t, x_t, start, width, W: tl.constexpr):
    """Columns start … start+W of rows t (C, 1) of x (L, width), zeros outside: (C, W) float32."""
    column = start + tl.arange(0, W)[None, :]
    inside = (t >= 0) & (column < width)
    return tl.load(x + (t * x_t + column), mask=inside, other=0.0).to(tl.float32)


@triton.jit
def store_rows(x, value, t, x_t, start, width, W: tl.constexpr):
    column = start + tl.arange(0, W)[None, :]
    inside = (t >= 0) & (column < width)
    tl.store(x + (t * x_t + column), value.to(x.dtype.element_ty), mask=inside)


@triton.jit
def load_channels(x, c0, d, D: tl.constexpr):
    """Channels c0 … c0+D of x (d,) in float32, zeros outside."""
    c = c0 + tl.arange(0, D)
    return tl.load(x + c, mask=c < d, other=0.0).to(tl.float32)


@triton.jit
def neighbours(level: tl.constexpr):
    """Whether j lies in the block of 2^level tokens right before that of i, of one pair (C, C)."""
    i = tl.arange(0, C)[:, None]
    j = tl.arange(0, C)[None, :]
    return (((i >> level) ^ (j >> level)) == 1) & (i > j)


@triton.jit
def decayed(x, rate, level: tl.constexpr, LATER: tl.constexpr):
    """x (C, D), decayed by one more factor in each pair's later or earlier block."""
    bit = (tl.arange(0, C)[:, None] >> level) & 1
    factor = tl.exp2(rate * (1 << level))[None, :]
    return x * tl.where(bit == (1 if LATER else 0), factor, 1.0)


@triton.jit
def walk_outputs(
    r, k, v, y, log_decay, bonus, initial, last, r_t, k_t, v_t, y_t, L,
    d: tl.constexpr, dv: tl.constexpr, D: tl.constexpr, E: tl.constexpr, INITIAL: tl.constexpr,
    LAST: tl.constexpr, REVERSE: tl.constexpr, DTYPE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """y_i = r_i (S_{i-1} + diag(u) k_i v_i^T), from the state ``initial`` or 0; LAST: write S_L."""
    i = tl.arange(0, C)[:, None]
    j = tl.arange(0, C)[None, :]
    rate = load_channels(log_decay, 0, d, D) * LOG2_E
    u = load_channels(bonus, 0, d, D)[None, :]
    c = tl.arange(0, D)[:, None]
    e = tl.arange(0, E)[None, :]
    S = tl.zeros((D, E), tl.float32)
    if INITIAL:
        S += tl.load(initial + c * dv + e, mask=(c < d) & (e < dv), other=0.0)
    for n in range(tl.cdiv(L, C)):
        t = positions(n, L, REVERSE)
        R = load_rows(r, t, r_t, 0, d, D)
        K = load_rows(k, t, k_t, 0, d, D)
        V = load_rows(v, t, v_t, 0, dv, E)
        scores = tl.where(i == j, tl.sum(R * u * K, 1)[:, None], 0.0)
        for level in tl.static_range(LEVELS):
            between = dot(R, tl.trans(K), DTYPE, PRECISION)
            scores += tl.where(neighbours(level), between, 0.0)
            R = decayed(R, rate, level, True)
            K = decayed(K, rate, level, False)
        out = dot(scores, V, DTYPE, PRECISION) + dot(R, S, DTYPE, PRECISION)
        store_rows(y, out, t, y_t, 0, dv, E)
        S = tl.exp2(rate * C)[:, None] * S + dot(tl.trans(K), V, DTYPE, PRECISION)
    if LAST:
        tl.store(last + c * dv + e, S, mask=(c < d) & (e < dv))


@triton.jit
def walk_gradients(
    r, k, v, dy, dr, log_decay, bonus, d_last, parts, r_t, k_t, v_t, dy_t, dr_t, L, H, c0,
    d: tl.constexpr, dv: tl.constexpr, D: tl.constexpr, E: tl.constexpr, GIVEN: tl.constexpr,
    REVERSE: tl.constexpr, DTYPE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dr_i = (S_{i-1} + diag(u) k_i v_i^T) dy_i for channels of r; GIVEN: there is a d_last.

    Backwards in time S starts from d_last. Forwards, it also writes this sequence's parts (2, H, d)
    of the gradients of log_decay and bonus. Between chunks the former needs F, the derivative of S
    by log_decay: each channel of S depends only on its own decay.
    """
    i = tl.arange(0, C)[:, None]
    j = tl.arange(0, C)[None, :]
    rate = load_channels(log_decay, c0, d, D) * LOG2_E
    u = load_channels(bonus, c0, d, D)[None, :]
    c = c0 + tl.arange(0, D)[:, None]
    e = tl.arange(0, E)[None, :]
    inside = (c < d) & (e < dv)
    S = tl.zeros((D, E), tl.float32)
    if REVERSE:
        if GIVEN:
            S += tl.load(d_last + c * dv + e, mask=inside, other=0.0)
    else:
        F = tl.zeros((D, E), tl.float32)
        d_decay = tl.zeros((C, D), tl.float32)
        d_bonus = tl.zeros((C, D), tl.float32)
    for n in range(tl.cdiv(L, C)):
        t = positions(n, L, REVERSE)
        K = load_rows(k, t, k_t, c0, d, D)
        V = load_rows(v, t, v_t, 0, dv, E)
        dY = load_rows(dy, t, dy_t, 0, dv, E)
        d_scores = dot(dY, tl.trans(V), DTYPE, PRECISION)
        by_bonus = K * tl.sum(V * dY, 1)[:, None]
        gradient = u * by_bonus
        power = tl.full((C, D), 1.0, tl.float32)
        if not REVERSE:
            R = load_rows(r, t, r_t, c0, d, D)
            d_bonus += R * by_bonus
        for level in tl.static_range(LEVELS):
            near = tl.where(neighbours(level), d_scores, 0.0)
            gradient += power * dot(near, K, DTYPE, PRECISION)
            if not REVERSE and level > 0:  # neighbouring tokens have no decay between them
                d_decay += R * power * dot(near * (i - 1 - j), K, DTYPE, PRECISION)
            power = decayed(power, rate, level, True)
            K = decayed(K, rate, level, False)
        from_state = dot(dY, tl.trans(S), DTYPE, PRECISION)
        gradient += power * from_state
        store_rows(dr, gradient, t, dr_t, c0, d, D)
        faded = tl.exp2(rate * C)[:, None]
        if not REVERSE:
            d_decay += R * power * (dot(dY, tl.trans(F), DTYPE, PRECISION) + i * from_state)
            F = faded * (F + C * S) + dot(tl.trans(K * (C - 1 - i)), V, DTYPE, PRECISION)
        S = faded * S + dot(tl.trans(K), V, DTYPE, PRECISION)
    if not REVERSE:
        channel = c0 + tl.arange(0, D)
        total = tl.sum(d_decay, 0)
        if GIVEN:
            total += tl.sum(F * tl.load(d_last + c * dv + e, mask=inside, other=0.0), 1)
        tl.store(parts + channel, total, mask=channel < d)
        tl.store(parts + H * d + channel, tl.sum(d_bonus, 0), mask=channel < d)
