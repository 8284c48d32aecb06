"""The gradients of a linear read-out, from the tensors that its forward pass saved."""
# mypy: disable-error-code="no-untyped-def"

import triton
import triton.language as tl

from recall_bench.kernels.labelled_cross_entropy.triton_forward import LOG2_E, load_copy


@triton.jit(do_not_specialize=["N", "V", "per_split"])
def weight_kernel(
    h, w, unit, answers, lse, partial, N, V, per_split,
    M: tl.constexpr, T: tl.constexpr, C: tl.constexpr, CHUNKS: tl.constexpr,
    RAISE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """sum_n (p_n - [target_n]) hidden_n of T tokens over one split of the rows: (splits, V, D)."""
    t0 = tl.program_id(0) * T
    split = tl.program_id(1)
    chunk = tl.program_id(2)
    token = t0 + tl.arange(0, T)
    base_2 = tl.load(unit) * tl.load(unit + 1) * LOG2_E
    one: tl.constexpr = 2.0**RAISE
    gradient = tl.zeros((T, C), tl.float32)
    if CHUNKS == 1:
        w_tile = load_copy(w, t0, 0, T, C, CHUNKS)
    first = split * per_split
    for i in range(first, tl.minimum(first + per_split, tl.cdiv(N, M))):
        m0 = i * M
        if CHUNKS == 1:
            h_tile = load_copy(h, m0, 0, M, C, CHUNKS)
            x = tl.dot(w_tile, tl.trans(h_tile), input_precision=PRECISION)  # (T, M)
        else:
            x = tl.zeros((T, M), tl.float32)
            for c in range(0, CHUNKS):
                part = tl.trans(load_copy(h, m0, c, M, C, CHUNKS))
                x = tl.dot(load_copy(w, t0, c, T, C, CHUNKS), part, x, input_precision=PRECISION)
            h_tile = load_copy(h, m0, chunk, M, C, CHUNKS)
        m = m0 + tl.arange(0, M)
        p = tl.exp2(x * base_2 - (tl.load(lse + m) - RAISE)[None, :])
        p = tl.where(token[:, None] == tl.load(answers + m)[None, :], p - one, p)
        gradient = tl.dot(p.to(h_tile.dtype), h_tile, gradient, input_precision=PRECISION)
    column = chunk * C + tl.arange(0, C)
    offset = (split * V + token).to(tl.int64)[:, None] * (C * CHUNKS) + column[None, :]
    tl.store(partial + offset, gradient, mask=(token < V)[:, None])


@triton.jit(do_not_specialize=["V", "splits"])
def finish_kernel(
    partial, unit, share, d_loss, d_weight, V, D, splits,
    RAISE: tl.constexpr, ROWS: tl.constexpr, DP: tl.constexpr,
):  # fmt: skip
    """The gradient of ROWS rows of weight, from its parts."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, DP)
    inside = (row < V)[:, None] & (d < D)[None, :]
    value = tl.zeros((ROWS, DP), tl.float32)
    for split in range(0, splits):
        offset = (split * V + row)[:, None] * DP + d[None, :]
        value += tl.load(partial + offset, mask=inside, other=0.0)
    factor = tl.load(share) * tl.load(d_loss).to(tl.float32)
    value *= factor * tl.load(unit) * (1.0 / 2.0**RAISE)
    offset = row[:, None] * D + d[None, :]
    tl.store(d_weight + offset, value.to(d_weight.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["N"])
def hidden_kernel(slope, share, d_loss, d_hidden, N, D, ROWS: tl.constexpr, DP: tl.constexpr):
    """The gradient of ROWS rows of hidden."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, DP)
    inside = (row < N)[:, None] & (d < D)[None, :]
    offset = row[:, None] * D + d[None, :]
    factor = tl.load(share) * tl.load(d_loss).to(tl.float32)
    value = tl.load(slope + offset, mask=inside, other=0.0) * factor
    tl.store(d_hidden + offset, value.to(d_hidden.dtype.element_ty), mask=inside)
