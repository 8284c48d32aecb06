"""One token of Taylor attention in Triton, for decoding."""
# mypy: disable-error-code="no-untyped-def, assignment"

import triton
import triton.language as tl


@triton.jit
def _features(x, row, d: tl.constexpr):
    """phi(x), weights included, at the packed rows: x (d,) in memory."""
    product = row > d
    m = tl.where(product, row - 1 - d, row - 1)
    r = tl.where(product, m // d, 0)
    i = m % d
    j = (i + d - r) % d
    used = row < 1 + d + d * (d + 1) // 2
    first = tl.load(x + i, mask=used & (row > 0), other=1.0).to(tl.float32)
    second = tl.load(x + j, mask=used & product, other=1.0).to(tl.float32)
    root = tl.sqrt(1.0 / d)
    weight = tl.where(r == 0, root * 0.7071067811865476, root)
    weight = tl.where(product, weight, tl.where(row > 0, tl.sqrt(root), 1.0))
    return tl.where(used, first * second * weight, 0.0)


@triton.jit
def step_kernel(
    q, k, v, y, kv, z, new_kv, new_z, q_b, q_h, k_b, k_h, v_b, v_h, H,
    d: tl.constexpr, dv: tl.constexpr, P: tl.constexpr, V: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    """One token for one head: the state (P, dv) is read once and written once."""
    bh = tl.program_id(0).to(tl.int64)
    q += (bh // H) * q_b + (bh % H) * q_h
    k += (bh // H) * k_b + (bh % H) * k_h
    v += (bh // H) * v_b + (bh % H) * v_h
    column = tl.arange(0, V)
    value = tl.load(v + column, mask=column < dv, other=0.0).to(tl.float32)
    numerator = tl.zeros((V,), tl.float32)
    denominator = 0.0
    for start in tl.static_range(0, P, R):
        row = start + tl.arange(0, R)
        phi_q = _features(q, row, d)
        phi_k = _features(k, row, d)
        inside = (row < P)[:, None] & (column < dv)[None, :]
        offset = bh * (P * dv) + row[:, None] * dv + column[None, :]
        S = tl.load(kv + offset, mask=inside, other=0.0) + phi_k[:, None] * value[None, :]
        tl.store(new_kv + offset, S, mask=inside)
        z_rows = tl.load(z + bh * P + row, mask=row < P, other=0.0) + phi_k
        tl.store(new_z + bh * P + row, z_rows, mask=row < P)
        numerator += tl.sum(phi_q[:, None] * S, 0)
        denominator += tl.sum(phi_q * z_rows, 0)
    out = numerator / denominator
    tl.store(y + bh * dv + column, out.to(y.dtype.element_ty), mask=column < dv)
