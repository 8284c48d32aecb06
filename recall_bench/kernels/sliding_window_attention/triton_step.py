"""One token of sliding-window attention in Triton, on a ring buffer, for decoding."""
# mypy: disable-error-code="no-untyped-def"

import triton
import triton.language as tl

from recall_bench.kernels.plumbing.triton_tiles import LOG2_E


@triton.jit
def step_kernel(
    q, k, v, keys, values, position, y, new_keys, new_values, new_position,
    q_b, q_h, k_b, k_h, v_b, v_h, group, window, G,
    d: tl.constexpr, dv: tl.constexpr, D: tl.constexpr, V: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """One token for one key-value head and its group of queries (at most M): the ring is copied.

    keys (B, W, G, d) and values (B, W, G, dv) are contiguous.
    """
    bg = tl.program_id(0).to(tl.int64)
    b = bg // G
    g = bg % G
    token = tl.load(position + b)
    column = tl.arange(0, D)
    value_column = tl.arange(0, V)
    member = tl.arange(0, M)
    row = g * group + member
    q_tile = tl.load(
        q + b * q_b + row[:, None] * q_h + column[None, :],
        mask=(member < group)[:, None] & (column < d)[None, :],
        other=0.0,
    ).to(tl.float32)
    own_key = tl.load(k + b * k_b + g * k_h + column, mask=column < d, other=0.0)
    own_value = tl.load(v + b * v_b + g * v_h + value_column, mask=value_column < dv, other=0.0)
    scale = LOG2_E / tl.sqrt(d * 1.0)
    largest = tl.full((M,), -1e30, tl.float32)
    total = tl.zeros((M,), tl.float32)
    out = tl.zeros((M, V), tl.float32)
    for i in range(0, tl.cdiv(window, N)):
        slot = i * N + tl.arange(0, N)
        current = (slot == token % window)[:, None]
        inside = (slot < window)[:, None] & (column < d)[None, :]
        offset = ((b * window + slot) * G + g)[:, None] * d + column[None, :]
        key = tl.load(keys + offset, mask=inside, other=0.0)
        key = tl.where(current, own_key[None, :].to(key.dtype), key)
        tl.store(new_keys + offset, key, mask=inside)
        inside = (slot < window)[:, None] & (value_column < dv)[None, :]
        offset = ((b * window + slot) * G + g)[:, None] * dv + value_column[None, :]
        value = tl.load(values + offset, mask=inside, other=0.0)
        value = tl.where(current, own_value[None, :].to(value.dtype), value)
        tl.store(new_values + offset, value, mask=inside)
        s = tl.sum(q_tile[:, None, :] * key.to(tl.float32)[None, :, :], 2) * scale  # (M, N)
        s = tl.where(((slot <= token) & (slot < window))[None, :], s, -float("inf"))
        new = tl.maximum(largest, tl.max(s, 1))
        p = tl.exp2(s - new[:, None])
        shrink = tl.exp2(largest - new)
        total = total * shrink + tl.sum(p, 1)
        out = out * shrink[:, None] + tl.sum(p[:, :, None] * value.to(tl.float32)[None, :, :], 1)
        largest = new
    out /= total[:, None]
    tl.store(
        y + (b * G * group + row)[:, None] * dv + value_column[None, :],
        out.to(y.dtype.element_ty),
        mask=(member < group)[:, None] & (value_column < dv)[None, :],
    )
    if g == 0:
        tl.store(new_position + b, token + 1)
