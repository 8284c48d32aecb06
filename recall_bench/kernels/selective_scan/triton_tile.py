"""Tiles of states in the registers of threads, shared by the kernels of the selective scan.

A tile is (T, S, J, V, P, Q): T tokens of a chunk, N = S P states of each of C = J V Q channels. A
thread holds S states of J channels for all T tokens; the P Q = 32 threads of a warp and the V warps
share out the rest. The layout follows from the shape alone: Triton gives the last dimensions to
threads and warps and leaves the first ones in registers. So the recurrence goes through a chunk
token by token without communication between threads, and the sums over states and over channels
begin within a thread.
"""
# mypy: disable-error-code="no-untyped-def, index"

import triton
import triton.language as tl

from recall_bench.kernels.plumbing.triton_tiles import LOG2_E, reciprocal


@triton.jit
def softplus(x):
    """log(1 + exp(x)) and its derivative.

    log(1 + e) = 2 artanh(e / (2 + e)), whose series is good to float32 after six terms (e <= 1).
    """
    e = tl.exp2(-tl.abs(x) * LOG2_E)
    s = e * reciprocal(2.0 + e)
    square = s * s
    series = square * (1 / 11) + 1 / 9
    series = square * series + 1 / 7
    series = square * series + 1 / 5
    series = square * series + 1 / 3
    series = square * series + 1.0
    r = reciprocal(1.0 + e)
    return tl.maximum(x, 0.0) + 2.0 * s * series, tl.where(x < 0.0, e * r, r)


@triton.jit
def unmoved(x, other):
    """x, as the sum of two loaded tiles: the compiler would widen a single one only after every
    thread has its copy, and postpone all arithmetic in between."""
    return x + (other - other)


@triton.jit
def step_size(raw, shift, inside, SOFTPLUS: tl.constexpr):
    """delta (T, C), 0 outside the sequence, and its derivative by the raw value."""
    raw += shift
    delta = raw
    slope = tl.full(raw.shape, 1.0, tl.float32)
    if SOFTPLUS:
        delta, slope = softplus(raw)
    return tl.where(inside, delta, 0.0), slope


@triton.jit
def by_channel(
    x, T: tl.constexpr, S: tl.constexpr, J: tl.constexpr, V: tl.constexpr, P: tl.constexpr,
    Q: tl.constexpr,
):  # fmt: skip
    """(T, C) -> (T, S, J, V, P, Q), the same for all states."""
    x = tl.permute(tl.reshape(x, (T, V, Q, J)), (0, 3, 1, 2))
    return tl.broadcast_to(x[:, None, :, :, None, :], (T, S, J, V, P, Q))


@triton.jit
def by_state(
    x, T: tl.constexpr, S: tl.constexpr, J: tl.constexpr, V: tl.constexpr, P: tl.constexpr,
    Q: tl.constexpr,
):  # fmt: skip
    """(T, N) -> (T, S, J, V, P, Q), the same for all channels."""
    x = tl.permute(tl.reshape(x, (T, P, S)), (0, 2, 1))
    return tl.broadcast_to(x[:, :, None, None, :, None], (T, S, J, V, P, Q))


@triton.jit
def token(x, time, k: tl.constexpr):
    """x[k:k+1]; costs nothing, since every thread has all tokens in registers."""
    bits = tl.where(time == k, x.to(tl.int32, bitcast=True), 0)
    return tl.sum(bits, 0, keep_dims=True).to(tl.float32, bitcast=True)


@triton.jit
def sum_pairs(x, count: tl.constexpr):
    a, b = tl.split(tl.reshape(x, (count, 2)))
    return a + b


@triton.jit
def sum_over_states(x, HALVES: tl.constexpr):
    """(T, J, V, P, Q), summed over S already -> (T, C).

    Splitting moves the sum between threads through shared memory, in a few wide accesses.
    """
    T: tl.constexpr = x.shape[0]
    C: tl.constexpr = x.shape[1] * x.shape[2] * x.shape[4]
    P: tl.constexpr = x.shape[3]
    x = tl.permute(x, (0, 2, 4, 1, 3))
    if HALVES and P > 1:
        x = tl.reshape(sum_pairs(x, T * C * P // 2), (T, C, P // 2))
    else:
        x = tl.reshape(x, (T, C, P))
    return tl.sum(x, 2)


@triton.jit
def sum_over_channels(x, HALVES: tl.constexpr):
    """(T, S, V, P, Q), summed over J already -> (T, N)."""
    T: tl.constexpr = x.shape[0]
    N: tl.constexpr = x.shape[1] * x.shape[3]
    Q: tl.constexpr = x.shape[2] * x.shape[4]
    x = tl.permute(x, (0, 3, 1, 2, 4))
    if HALVES and Q > 3:
        x = sum_pairs(sum_pairs(x, T * N * Q // 2), T * N * Q // 4)
        x = tl.reshape(x, (T, N, Q // 4))
    else:
        x = tl.reshape(x, (T, N, Q))
    return tl.sum(x, 2)


@triton.jit
def offsets(
    first, n_state, zero, S: tl.constexpr, J: tl.constexpr, V: tl.constexpr,
    P: tl.constexpr, Q: tl.constexpr,
):  # fmt: skip
    """Channel and state of each element of a tile (1, S, J, V, P, Q), its offset in a (W, N)
    tensor, and its offset in a kept state, which is stored as the threads of each warp hold it.

    Loads thus have the layout of the arithmetic: the declared contiguity orders the dimensions for
    the layout, and ``zero``, whose value the compiler does not know, keeps it from widening the
    accesses.
    """
    s = tl.arange(0, S)[None, :, None, None, None, None]
    j = tl.arange(0, J)[None, None, :, None, None, None]
    v = tl.arange(0, V)[None, None, None, :, None, None]
    p = tl.arange(0, P)[None, None, None, None, :, None]
    q = tl.arange(0, Q)[None, None, None, None, None, :]
    c = first + (v * Q + q) * J + j
    n = p * S + s
    state = tl.max_contiguous(c * n_state + n + zero, [1, 1, 1, 2, 4, 8])
    kept = tl.max_contiguous((((v * S + s) * J + j) * P + p) * Q + q + zero, [1, 1, 1, 2, 4, 8])
    return c, n, state, kept
