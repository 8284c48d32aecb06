"""Compile kernels for a Hopper GPU, which need not be present: `python compiling.py`.

The interpreter accepts Python that the compiler refuses, such as a name of two types in a branch.
"""

from typing import Any

import triton.language as tl
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from recall_bench.kernels.add_norm import triton as norm
from recall_bench.kernels.attention_at import triton as attention_at
from recall_bench.kernels.head_norm import triton as head_norm
from recall_bench.kernels.long_conv import triton as long_conv
from recall_bench.kernels.outer import triton as outer
from recall_bench.kernels.plumbing.triton_rows import _add_rows_kernel
from recall_bench.kernels.plumbing.triton_sums import _column_sum_kernel, _sum_parts_kernel
from recall_bench.kernels.rotary import triton as rotary
from recall_bench.kernels.s4d_kernel import triton as s4d
from recall_bench.kernels.selective_scan import triton as scan
from recall_bench.kernels.short_conv import triton as conv
from recall_bench.kernels.swiglu import triton as swiglu
from recall_bench.kernels.token_mix import triton as token_mix
from recall_bench.kernels.wkv import triton as wkv

HOPPER = GPUTarget("cuda", 90, 32)


def build(
    kernel: Any,
    narrow: tuple[str, ...],
    warps: int = 1,
    registers: int | None = None,
    **constants: Any,
) -> None:
    """Compile a kernel; pointers are float32 (bfloat16 if in ``narrow``), other arguments ints."""
    kinds = {}
    skips = {"A", "A_imag"} & set(kernel.arg_names)
    pointers = POINTERS if skips else POINTERS - {"D"}  # in other kernels D is a width
    for name in kernel.arg_names:
        if name in constants:
            kinds[name] = "constexpr"
        elif name in pointers:
            kinds[name] = "*bf16" if name in narrow else "*fp32"
        elif name == "positions":
            kinds[name] = "*i64"
        else:
            kinds[name] = "fp32" if name == "eps" else "i32"
    values = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    source = ASTSource(fn=kernel, signature=kinds, constexprs=values)
    compile(source, target=HOPPER, options={"num_warps": warps, "maxnreg": registers})


POINTERS = {
    "u", "delta", "A", "B", "C", "D", "z", "bias", "h0", "y", "h_last", "starts", "dy", "dh_last",
    "du", "d_delta", "dz", "dA", "dBC", "dD_bias", "dh0", "parts", "total", "x", "weight",
    "initial", "gate", "dx", "d_gate", "d_initial", "residual", "normed", "d_normed", "d_total",
    "d_residual", "q", "kv", "lse", "dq", "dkv", "out", "rows", "sums", "log_dt", "log_A_real",
    "A_imag", "kernel", "d_kernel", "d_log_dt", "d_log_A_real", "d_A_imag", "dB", "dC", "dD",
    "matrix", "r", "k", "v", "log_decay", "bonus", "last", "d_last", "dr",
    "dk", "d_v", "mix", "dy0", "dy1", "dy2", "dy3", "d_out",
    "d_kv", "dv",
}  # fmt: skip
NARROW = (
    "u",
    "delta",
    "B",
    "C",
    "z",
    "y",
    "dy",
    "du",
    "d_delta",
    "dz",
    "starts",
    "x",
    "gate",
    "q",
    "kv",
    "r",
    "k",
    "v",
    "dr",
    "dk",
    "d_v",
)


def build_scan(n_state: int, everything: bool, narrow: tuple[str, ...]) -> None:
    flags = dict.fromkeys(("SKIP", "GATE", "BIAS", "SOFTPLUS", "INITIAL"), everything)
    flags["WHOLE"] = not everything
    tile = scan.tile_of(n_state, scan.FORWARD)
    shape = {**flags, "STAGES": tile.stages, "EVERY": scan.SPAN // tile.T, **tile._asdict()}
    shape["HALVES"] = scan.FORWARD_HALVES
    build(scan.forward_kernel, narrow, tile.V, scan.FORWARD.registers, **shape)
    tile = scan.tile_of(n_state, scan.BACKWARD)
    shape = {**flags, "STAGES": tile.stages, "SPAN": scan.SPAN // tile.T, **tile._asdict()}
    shape.update(HALVES=scan.BACKWARD_HALVES, FINAL=everything)
    build(scan.backward_kernel, narrow, tile.V, scan.BACKWARD.registers, **shape)


def build_conv(kernel_size: int, everything: bool, narrow: tuple[str, ...]) -> None:
    names = ("BIAS", "SILU", "INITIAL", "GATE", "RESIDUAL")
    shape = dict.fromkeys(names, everything) | {"K": kernel_size, "T": 8, "C": conv.CHANNELS}
    build(conv._forward_kernel, narrow, **shape)
    build(conv._backward_kernel, narrow, **shape)


def build_norm(everything: bool, narrow: tuple[str, ...]) -> None:
    shape: dict[str, Any] = {"CENTRE": everything, "R": 16, "D_TILE": 128}
    build(norm._forward_kernel, narrow, 4, ADD=everything, BIAS=everything, **shape)
    build(norm._backward_kernel, narrow, 4, TOTAL=everything, SPLIT=everything, **shape)


def build_swiglu(narrow: tuple[str, ...]) -> None:
    for kernel in (swiglu._forward_kernel, swiglu._backward_kernel):
        build(kernel, narrow, 4, R=2, C=1024)


def build_rotary(back: bool, narrow: tuple[str, ...]) -> None:
    build(rotary._kernel, narrow, 4, BACK=back, HALF=24, R=32, C=32)


def build_outer(head_dim: int, narrow: tuple[str, ...]) -> None:
    heads, tokens = outer.CHANNELS // head_dim, outer.TILE // (outer.CHANNELS * head_dim)
    for kernel in (
        outer.outer_kernel,
        outer.outer_backward_kernel,
        outer.contract_kernel,
        outer.contract_backward_kernel,
    ):
        build(kernel, narrow, 4, P=head_dim, HT=heads, T=tokens)


def build_attention_at(dtype: tl.dtype, narrow: tuple[str, ...]) -> None:
    shape = {"d": 48, "D": 64, "M": 16, "N": 32, "DTYPE": dtype, "PRECISION": "tf32"}
    build(attention_at.forward_kernel, narrow, 4, **shape)
    build(attention_at.backward_kernel, narrow, 4, **shape)


def build_wkv(width: int, dtype: tl.dtype, precision: str, narrow: tuple[str, ...]) -> None:
    sizes = {"d": width, "dv": width, "D": width, "E": width}
    shape = {**sizes, "DTYPE": dtype, "PRECISION": precision}
    warps, registers = width // 16, None if precision == "tf32x3" else 128
    build(wkv.forward_kernel, narrow, warps, registers, **shape)
    shape.update(M=max(16, width // 2), GIVEN=width == 64)
    build(wkv.backward_kernel, narrow, warps, registers and 168, **shape)


if __name__ == "__main__":
    build_scan(16, True, NARROW)
    build_scan(8, False, ())
    build_conv(3, True, NARROW)
    build_norm(True, NARROW)
    build(_sum_parts_kernel, (), 4, COUNT=24, UNROLL=16, C=1024)
    build(_column_sum_kernel, (), 4, R=512, C=8)
    build_swiglu(NARROW)
    build_swiglu(())
    build_rotary(False, NARROW)
    build_rotary(True, ())
    build_attention_at(tl.bfloat16, NARROW)
    build_attention_at(tl.float32, ())
    for modes in (2, 16):
        build(s4d._forward_kernel, (), 4, M=modes, LOG_T=s4d.LOG_T)
        build(s4d._backward_kernel, ("C", "dC"), 4, M=modes, LOG_T=s4d.LOG_T)
    build(long_conv._matrix_kernel, (), 4, **long_conv.TILE)
    build(long_conv._diagonals_kernel, (), 4, **long_conv.TILE)
    build_outer(1, ())
    build_outer(2, ("q", "v", "out", "d_out", "dq", "dv"))
    build_outer(8, ())
    build(_add_rows_kernel, ("out", "rows"), N=128, R=8, C=128)
    build_wkv(64, tl.bfloat16, "tf32", tuple(name for name in NARROW if name not in ("y", "dy")))
    build_wkv(64, tl.float32, "tf32", ())
    build_wkv(16, tl.float32, "tf32x3", ())
    tiles = {"N": 4, "R": token_mix.ROWS, "C": token_mix.COLUMNS}
    build(token_mix.forward_kernel, ("x", "out"), 4, **tiles)
    build(token_mix.backward_kernel, ("x", "dx", "dy0", "dy1", "dy2", "dy3"), 4, **tiles)
    tiles = {"R": 4, "HT": 16, "DT": 32}
    build(head_norm.forward_kernel, ("gate", "out"), 4, **tiles)
    build(head_norm.backward_kernel, ("gate", "d_out", "d_gate"), 4, **tiles)
    print("compiled")
