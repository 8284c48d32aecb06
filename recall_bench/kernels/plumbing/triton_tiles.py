"""Loads, stores, products and sigmoids of tiles, shared by the Triton kernels."""
# mypy: disable-error-code="no-untyped-def"

import math

import triton
import triton.language as tl

LOG2_E = tl.constexpr(math.log2(math.e))
LN_2 = tl.constexpr(math.log(2))


@triton.jit
def dot(a, b, DTYPE: tl.constexpr, PRECISION: tl.constexpr):
    """The matrix product of a and b, both rounded to DTYPE, in float32."""
    return tl.dot(a.to(DTYPE), b.to(DTYPE), input_precision=PRECISION)


@triton.jit
def reciprocal(x):
    """1 / x for x > 0 in two instructions; a division takes eight."""
    root = tl.rsqrt(x)
    return root * root


@triton.jit
def sigmoid(x):
    return reciprocal(1.0 + tl.exp2(tl.minimum(-x * LOG2_E, 126.0)))  # below overflow


@triton.jit
def load_at(x, offset, inside):
    """x[offset] in float32, zeros outside."""
    return tl.load(x + offset, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def store_at(x, offset, value, inside):
    """Write value to x[offset], in the dtype of x."""
    tl.store(x + offset, value.to(x.dtype.element_ty), mask=inside)


@triton.jit
def load_tile(x, t0, T, stride, width: tl.constexpr, C: tl.constexpr, W: tl.constexpr):
    """Rows t0..t0+C of x (T, width), zeros beyond both edges: (C, W)."""
    row = (t0 + tl.arange(0, C))[:, None]
    column = tl.arange(0, W)[None, :]
    inside = row < T
    if width < W:
        inside = inside & (column < width)
    return tl.load(x + (row.to(tl.int64) * stride + column), mask=inside, other=0.0)


@triton.jit
def store_tile(x, value, t0, T, stride, width: tl.constexpr, C: tl.constexpr, W: tl.constexpr):
    """Write value (C, W) to rows t0..t0+C of x (T, width), in the dtype of x."""
    row = (t0 + tl.arange(0, C))[:, None]
    column = tl.arange(0, W)[None, :]
    inside = row < T
    if width < W:
        inside = inside & (column < width)
    pointers = x + (row.to(tl.int64) * stride + column)
    tl.store(pointers, value.to(x.dtype.element_ty), mask=inside)
