"""What `recall-bench bench kernels` times: problems, who solves them, and their floors."""

import importlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from recall_bench.kernels.attention_at import reference as at_reference
from recall_bench.kernels.long_conv import reference as long_reference
from recall_bench.kernels.outer import reference as outer_reference
from recall_bench.kernels.rotary import reference as rotary_reference
from recall_bench.kernels.s4d_kernel import reference as s4d_reference
from recall_bench.kernels.selective_scan import reference as scan_reference
from recall_bench.kernels.short_conv import reference as conv_reference
from recall_bench.kernels.sliding_window_attention import reference as window_reference
from recall_bench.kernels.swiglu import reference as swiglu_reference
from recall_bench.kernels.taylor_attention import TaylorState, packed_size
from recall_bench.kernels.taylor_attention import reference as taylor_reference
from recall_bench.kernels.wkv import reference as wkv_reference

OURS = "recall-bench"
DEVICE = "cuda"
FEATURE_DIM = 16
WINDOW = 64
SHAPES = ((8, 16, 2048, 64), (8, 16, 2048, 128), (4, 16, 8192, 64), (1, 16, 32768, 64))
"""(batch, heads, length, d_v) of the attention kernels."""
LENGTHS = (2048, 4096, 8192, 16384, 32768, 65536)
TRAINING_BATCH = 256
TRAINING_LENGTHS = (64, 128, 256)
TRAINING_TAYLOR = ((8, 48), (16, 64), (24, 128))
"""(feature_dim, d_v) of the layers that recall tasks train, with one head."""
TRAINING_WINDOWS = (8, 64, 1024)
TRAINING_QUERIES = ((4, 64), (8, 128), (64, 256))
"""(queries, length) of the segments whose labelled positions attention answers."""


class Ceilings(NamedTuple):
    """What the device reaches, measured in this process."""

    bytes_per_second: float
    operations_per_second: float

    def floor(self, moved: float, operations: float) -> float:
        """Milliseconds below which no kernel can go."""
        return 1e3 * max(moved / self.bytes_per_second, operations / self.operations_per_second)


class Contender(NamedTuple):
    """One implementation of an operation; ``exact`` is None where it computes something else."""

    name: str
    function: Callable[..., Any]
    exact: Callable[..., Any] | None
    inputs: Sequence[Tensor] | None = None
    """Its own inputs, where it needs others than the problem's."""


class Problem(NamedTuple):
    """Inputs of an operation at one size, and the floors of its passes in milliseconds."""

    operation: str
    size: str
    inputs: Sequence[Tensor]
    contenders: Sequence[Contender]
    floors: dict[str, float | None]
    proof: Sequence[Sequence[Tensor]]
    """Smaller inputs for the proofs: ours takes all, others the first, of the dtype timed."""
    length: int | None = None
    graph: bool = False
    """Whether to time replays of a CUDA graph, as decoding and training run, not single calls."""
    tf32: bool = False
    """Whether float32 inputs may take single TF32 products."""
    training: bool = False
    """Whether it belongs in the table of training shapes."""


def problems(ceilings: Ceilings) -> list[Problem]:
    """Everything that is timed, in the order of the table."""
    found = [_taylor(ceilings, *shape) for shape in SHAPES]
    found += [_taylor(ceilings, 1, 16, length, 64, length) for length in LENGTHS]
    found += [_taylor_step(ceilings, batch) for batch in (128, 256, 512)]
    found += [_window(ceilings), _scan(ceilings, 32, 1024, 512, 16)]
    found += [_scan(ceilings, 256, length, 256, 16) for length in TRAINING_LENGTHS]
    found += [_s4d(ceilings, 128, length, 16) for length in TRAINING_LENGTHS]
    found += [_long_conv(ceilings, TRAINING_BATCH, length, 128) for length in TRAINING_LENGTHS]
    found += [_outer(ceilings, TRAINING_BATCH, length, 64, 2) for length in TRAINING_LENGTHS]
    found.append(_conv(ceilings, 32, 2048, 1024, torch.bfloat16))
    for dtype in (torch.bfloat16, torch.float32):
        for length in TRAINING_LENGTHS:
            found += [_training_taylor(ceilings, length, *n, dtype) for n in TRAINING_TAYLOR]
            found += [_training_window(ceilings, length, w, dtype) for w in TRAINING_WINDOWS]
            found.append(_conv(ceilings, 256, length, 256, dtype))
            found.append(_wkv(ceilings, length, dtype))
        found += [_training_attention_at(ceilings, *n, dtype) for n in TRAINING_QUERIES]
        found.append(_training_swiglu(ceilings, 128, 2048, dtype))
        found += [_training_rotary(ceilings, 128, heads, 768 // heads, dtype) for heads in (1, 12)]
    return found


def _random(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    return torch.randn(shape, device=DEVICE, dtype=dtype)


def _optional(module: str, name: str) -> Callable[..., Any] | None:
    try:
        return getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None


def _softmax(backend: str) -> Callable[..., Tensor]:
    """torch's attention by one of its backends: (B, H, T, d)."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with sdpa_kernel(getattr(SDPBackend, backend)):
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    return attention


def _taylor(
    ceilings: Ceilings, B: int, H: int, T: int, dv: int, length: int | None = None
) -> Problem:
    from recall_bench.kernels.taylor_attention import triton

    d, chunk, features = FEATURE_DIM, 128, 161
    intra, inter = 2 * chunk, 2 * features * dv
    forward = ceilings.floor(B * H * T * 4 * (d + dv), B * H * T * (intra * (d + dv) + 2 * inter))
    backward = ceilings.floor(
        B * H * T * (8 * d + 6 * dv + 8), B * H * T * (intra * (3 * d + 2 * dv) + 5 * inter)
    )

    def sizes(B: int, H: int, T: int, dtype: torch.dtype) -> list[Tensor]:
        return [_random(B, T, H, n, dtype=dtype) for n in (d, d, dv)]

    exact: Any = taylor_reference.taylor_attention
    ours: Any = triton.taylor_attention
    contenders = [Contender(OURS, ours, exact)]
    for name in ("parallel_based", "fused_chunk_based") if length is None else ():
        if theirs := _optional("fla.ops.based", name):
            function: Any = theirs
            contenders.append(
                Contender(
                    f"fla {name}",
                    lambda q, k, v, f=function: f(q, k, v, scale=d**-0.5, use_norm=True),
                    exact,
                )
            )
    wide = [_random(B, H, T, dv) for _ in range(3)]
    contenders += [
        Contender(f"torch softmax, {name} (d = d_v)", _softmax(backend), None, wide)
        for name, backend in (("flash", "FLASH_ATTENTION"), ("cuDNN", "CUDNN_ATTENTION"))
    ]
    return Problem(
        "taylor_attention",
        f"({B},{H},{T},{dv})",
        sizes(B, H, T, torch.bfloat16),
        contenders,
        {"forward": forward, "forward+backward": forward + backward},
        [sizes(2, 3, 1000, dtype) for dtype in (torch.bfloat16, torch.float32)],
        length,
    )


def _taylor_step(ceilings: Ceilings, batch: int, dv: int = 64, heads: int = 16) -> Problem:
    from recall_bench.kernels.taylor_attention import triton

    d, P = FEATURE_DIM, packed_size(FEATURE_DIM)

    def sizes(batch: int) -> list[Tensor]:
        kv = _random(batch, heads, P, dv, dtype=torch.float32)
        z = 50 + torch.rand(batch, heads, P, device=DEVICE)
        z[..., 1:] -= 50  # the constant feature dominates, as a count does
        return [*(_random(batch, 1, heads, n, dtype=torch.float32) for n in (d, d, dv)), kv, z]

    def step(module: Any) -> Callable[..., Any]:
        def call(q: Tensor, k: Tensor, v: Tensor, kv: Tensor, z: Tensor) -> tuple[Tensor, ...]:
            state = TaylorState(kv, z)
            y, state = module.taylor_attention_step(q, k, v, state, return_state=True)
            return y, *state

        return call

    inputs = sizes(batch)
    copy = Contender("a copy of the state", lambda *x: x[3].clone(), None)
    ours = Contender(OURS, step(triton), step(taylor_reference))
    floor = ceilings.floor(2 * 4 * batch * heads * P * (dv + 1), 0)
    size = f"({batch},{heads},1,{dv})"
    return Problem(
        "taylor_attention_step", size, inputs, [ours, copy], {"step": floor}, [sizes(2)], graph=True
    )


def _window(ceilings: Ceilings) -> Problem:
    from recall_bench.kernels.sliding_window_attention import triton

    B, H, T, d = SHAPES[0]

    def windowed(module: Any) -> Callable[..., Tensor]:
        return lambda q, k, v: module.sliding_window_attention(q, k, v, WINDOW)

    def sizes(B: int, T: int, dtype: torch.dtype) -> list[Tensor]:
        return [_random(B, T, H, d, dtype=dtype) for _ in range(3)]

    contenders = [Contender(OURS, windowed(triton), windowed(window_reference))]
    if varlen := _optional("torch.nn.attention.varlen", "varlen_attn"):
        attend = varlen

        def packed(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            batch, length = q.shape[:2]
            ends = torch.arange(batch + 1, device=DEVICE, dtype=torch.int32) * length
            flat = (x.flatten(0, 1) for x in (q, k, v))
            y = attend(*flat, ends, ends, length, length, window_size=(WINDOW - 1, 0))
            return y.view(q.shape)

        contenders.append(Contender("torch varlen_attn", packed, windowed(window_reference)))
    if flash := _optional("flash_attn", "flash_attn_func"):
        flash_attention: Any = flash
        contenders.append(
            Contender(
                "flash-attn",
                lambda q, k, v: flash_attention(q, k, v, causal=True, window_size=(WINDOW - 1, 0)),
                windowed(window_reference),
            )
        )
    forward = ceilings.floor(8 * B * T * H * d, 4 * B * T * H * WINDOW * d)
    backward = ceilings.floor(16 * B * T * H * d, 10 * B * T * H * WINDOW * d)
    return Problem(
        f"sliding_window_attention, window {WINDOW}",
        f"({B},{H},{T},{d})",
        sizes(B, T, torch.bfloat16),
        contenders,
        {"forward": forward, "forward+backward": forward + backward},
        [sizes(2, 300, torch.bfloat16), sizes(2, 300, torch.float32)],
    )


def _training_taylor(ceilings: Ceilings, T: int, d: int, dv: int, dtype: torch.dtype) -> Problem:
    from recall_bench.kernels.taylor_attention import triton

    def sizes(B: int) -> list[Tensor]:
        return [_random(B, T, 1, n, dtype=dtype) for n in (d, d, dv)]

    exact: Any = taylor_reference.taylor_attention
    ours: Any = triton.taylor_attention
    moved = TRAINING_BATCH * T * dtype.itemsize
    forward = ceilings.floor(moved * 2 * (d + dv), 0)
    return Problem(
        f"taylor_attention, feature_dim {d}, {_precision_name(dtype)}",
        f"({TRAINING_BATCH},1,{T},{dv})",
        sizes(TRAINING_BATCH),
        [Contender(OURS, ours, exact)],
        {
            "forward": forward,
            "forward+backward": forward + ceilings.floor(moved * (4 * d + 4 * dv), 0),
        },
        [sizes(3)],
        graph=True,
        tf32=dtype == torch.float32,
        training=True,
    )


def _training_window(
    ceilings: Ceilings, T: int, window: int, dtype: torch.dtype, d: int = 128
) -> Problem:
    from recall_bench.kernels.sliding_window_attention import triton

    def windowed(module: Any) -> Callable[..., Tensor]:
        return lambda q, k, v: module.sliding_window_attention(q, k, v, window)

    def sizes(B: int) -> list[Tensor]:
        return [_random(B, T, 1, d, dtype=dtype) for _ in range(3)]

    contenders = [Contender(OURS, windowed(triton), windowed(window_reference))]
    if window >= T:
        names = ("CUDNN_ATTENTION",) if dtype == torch.bfloat16 else ("EFFICIENT_ATTENTION", "MATH")
        contenders += [
            Contender(f"torch softmax, {name.split('_')[0].lower()}", _heads_second(name), None)
            for name in names
        ]
    moved = TRAINING_BATCH * T * d * dtype.itemsize
    forward = ceilings.floor(4 * moved, 0)
    return Problem(
        f"sliding_window_attention, window {window}, {_precision_name(dtype)}",
        f"({TRAINING_BATCH},1,{T},{d})",
        sizes(TRAINING_BATCH),
        contenders,
        {"forward": forward, "forward+backward": forward + ceilings.floor(8 * moved, 0)},
        [sizes(3)],
        graph=True,
        tf32=dtype == torch.float32,
        training=True,
    )


def _training_attention_at(
    ceilings: Ceilings, Q: int, T: int, dtype: torch.dtype, d: int = 128
) -> Problem:
    from recall_bench.kernels.attention_at import triton

    positions = torch.randint(T, (TRAINING_BATCH, Q), device=DEVICE)

    def attend(module: Any) -> Callable[..., Tensor]:
        return lambda q, kv: module.attention_at(q, kv, positions[: len(q)])

    def sizes(B: int) -> list[Tensor]:
        return [_random(B, Q, 1, d, dtype=dtype), _random(B, T, 2, 1, d, dtype=dtype)]

    exact = attend(at_reference)
    row, products = TRAINING_BATCH * d * dtype.itemsize, 2 * TRAINING_BATCH * Q * T * d
    forward = ceilings.floor(row * (2 * T + 2 * Q), 2 * products)
    backward = ceilings.floor(row * (4 * T + 4 * Q), 5 * products)
    return Problem(
        f"attention_at, {Q} queries, {_precision_name(dtype)}",
        f"({TRAINING_BATCH},1,{T},{d})",
        sizes(TRAINING_BATCH),
        [
            Contender(OURS, attend(triton), exact),
            Contender("torch softmax, with a mask", exact, exact),
        ],
        {"forward": forward, "forward+backward": forward + backward},
        [sizes(3)],
        graph=True,
        tf32=dtype == torch.float32,
        training=True,
    )


def _training_swiglu(ceilings: Ceilings, length: int, hidden: int, dtype: torch.dtype) -> Problem:
    from recall_bench.kernels.swiglu import triton

    def sizes(batch: int, hidden: int) -> list[Tensor]:
        return [_random(batch, length, 2 * hidden, dtype=dtype)]

    exact = swiglu_reference.swiglu
    moved = TRAINING_BATCH * length * hidden * dtype.itemsize
    return Problem(
        f"swiglu, {str(dtype).removeprefix('torch.')}",
        f"({TRAINING_BATCH},{length},{2 * hidden})",
        sizes(TRAINING_BATCH, hidden),
        [
            Contender(OURS, triton.swiglu, exact),
            Contender("recall-bench reference", exact, exact),
        ],
        {
            "forward": ceilings.floor(3 * moved, 0),
            "forward+backward": ceilings.floor((3 + 5) * moved, 0),
        },
        [sizes(3, hidden), sizes(3, 100)],
        graph=True,
        training=True,
    )


def _training_rotary(
    ceilings: Ceilings, length: int, heads: int, d: int, dtype: torch.dtype
) -> Problem:
    from recall_bench.kernels.rotary import triton

    def turn(module: Any) -> Callable[..., Tensor]:
        return lambda x: module.rotary(x, torch.arange(x.shape[1], device=DEVICE))

    def sizes(batch: int, length: int) -> list[Tensor]:
        return [_random(batch, length, 3, heads, d, dtype=dtype)[:, :, 0]]  # as queries come

    exact = turn(rotary_reference)
    moved = TRAINING_BATCH * length * heads * d * dtype.itemsize
    return Problem(
        f"rotary, {str(dtype).removeprefix('torch.')}",
        f"({TRAINING_BATCH},{length},{heads},{d})",
        sizes(TRAINING_BATCH, length),
        [
            Contender(OURS, turn(triton), exact),
            Contender("recall-bench reference", exact, exact),
        ],
        {
            "forward": ceilings.floor(2 * moved, 0),
            "forward+backward": ceilings.floor(4 * moved, 0),
        },
        [sizes(3, length), sizes(1, 4097)],
        graph=True,
        training=True,
    )


def _precision_name(dtype: torch.dtype) -> str:
    return "bf16" if dtype == torch.bfloat16 else "TF32"


def _heads_second(backend: str) -> Callable[..., Tensor]:
    """torch's attention by one of its backends, for tensors (B, T, H, d)."""
    attention = _softmax(backend)
    return lambda *x: attention(*(y.transpose(1, 2) for y in x)).transpose(1, 2)


def _scan(ceilings: Ceilings, batch: int, length: int, width: int, n: int) -> Problem:
    from recall_bench.kernels.selective_scan import triton

    def sizes(batch: int, length: int, width: int, n: int) -> list[Tensor]:
        u, delta = (_random(batch, length, width, dtype=torch.float32) for _ in range(2))
        B, C = (_random(batch, length, n, dtype=torch.float32) for _ in range(2))
        return [u, delta, -torch.rand(width, n, device=DEVICE) - 0.5, B, C]

    def scan(module: Any) -> Callable[..., Tensor]:
        return lambda u, delta, A, B, C: module.selective_scan(
            u, delta, A, B, C, delta_softplus=True
        )

    contenders = [Contender(OURS, scan(triton), scan(scan_reference))]
    if mamba := _optional("recall_bench.kernels.selective_scan.mamba_ssm", "selective_scan"):
        theirs: Any = mamba  # the copies into its layout included

        def packaged(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
            y: Tensor = theirs(u, delta, A, B, C, delta_softplus=True)
            return y

        contenders.append(Contender("mamba-ssm", packaged, scan(scan_reference)))
    elements = batch * length * width
    return Problem(
        "selective_scan, float32",
        f"({batch},{length},{width},{n})",
        sizes(batch, length, width, n),
        contenders,
        {
            "forward": ceilings.floor(12 * elements, 0),
            "forward+backward": ceilings.floor((12 + 20) * elements, 0),
        },
        [sizes(2, 200, 64, n)],
        graph=batch == TRAINING_BATCH,
        training=batch == TRAINING_BATCH,
    )


def _s4d(ceilings: Ceilings, heads: int, length: int, modes: int) -> Problem:
    from recall_bench.kernels.s4d_kernel import triton

    def sizes() -> list[Tensor]:
        def random(*shape: int) -> Tensor:
            return _random(*shape, dtype=torch.float32)

        steps, pairs = random(heads, 1) - 4, (random(heads, modes, 2) for _ in range(2))
        return [steps, random(heads, modes), 9 * random(heads, modes), *pairs, random(heads)]

    def kernel(module: Any) -> Callable[..., Tensor]:
        return lambda *x: module.s4d_kernel(*x, length)

    exact = kernel(s4d_reference)
    parameters = heads * (6 * modes + 2)
    forward = ceilings.floor(4 * (parameters + heads * length), 0)
    return Problem(
        "s4d_kernel, float32",
        f"({heads},{length},{modes})",
        sizes(),
        [Contender(OURS, kernel(triton), exact), Contender("recall-bench reference", exact, exact)],
        {
            "forward": forward,
            "forward+backward": forward + ceilings.floor(4 * (2 * parameters + heads * length), 0),
        },
        [sizes()],
        graph=True,
        training=True,
    )


def _long_conv(ceilings: Ceilings, batch: int, length: int, width: int) -> Problem:
    from recall_bench.kernels.long_conv import triton

    def sizes(batch: int) -> list[Tensor]:
        shapes = (batch, length, width), (width, length)
        return [_random(*shape, dtype=torch.float32) for shape in shapes]

    def conv(module: Any) -> Callable[..., Tensor]:
        return lambda x, kernel: module.long_conv(x.mT, kernel).mT

    exact = conv(long_reference)
    moved = 4 * batch * length * width
    forward = ceilings.floor(2 * moved, 0)
    return Problem(
        "long_conv, TF32",
        f"({batch},{length},{width})",
        sizes(batch),
        [Contender(OURS, conv(triton), exact), Contender("torch, by the FFT", exact, exact)],
        {"forward": forward, "forward+backward": forward + ceilings.floor(3 * moved, 0)},
        [sizes(3)],
        graph=True,
        tf32=True,
        training=True,
    )


def _outer(ceilings: Ceilings, batch: int, length: int, heads: int, p: int) -> Problem:
    """Both operations, each of which goes through memory once in each direction."""
    from recall_bench.kernels.outer import triton

    def sizes(batch: int, length: int) -> list[Tensor]:
        q, v = (_random(batch, length, heads, p, dtype=torch.float32) for _ in range(2))
        k = _random(heads, p, batch, length, dtype=torch.float32)
        return [q, k.permute(2, 3, 0, 1), v]  # as projections and a long convolution give them

    def both(module: Any) -> Callable[..., Tensor]:
        return lambda q, k, v: module.contract(q, module.outer(k, v))

    exact = both(outer_reference)
    moved = 4 * batch * length * heads * p
    forward = ceilings.floor((4 + 2 * p) * moved, 0)
    return Problem(
        "outer and contract, float32",
        f"({batch},{length},{heads},{p})",
        sizes(batch, length),
        [Contender(OURS, both(triton), exact), Contender("recall-bench reference", exact, exact)],
        {
            "forward": forward,
            "forward+backward": forward + ceilings.floor((7 + 3 * p) * moved, 0),
        },
        [sizes(3, length), sizes(3, 50)],
        graph=True,
        training=True,
    )


def _conv(ceilings: Ceilings, batch: int, length: int, width: int, dtype: torch.dtype) -> Problem:
    from recall_bench.kernels.short_conv import triton

    def sizes(batch: int, length: int, width: int, dtype: torch.dtype) -> list[Tensor]:
        weight = _random(width, 3, dtype=dtype), _random(width, dtype=dtype)
        return [_random(batch, length, width, dtype=dtype), *weight]

    def conv(module: Any) -> Callable[..., Tensor]:
        return lambda x, weight, bias: module.short_conv(x, weight, bias, "silu")

    contenders = [
        Contender(OURS, conv(triton), conv(conv_reference)),
        Contender("recall-bench reference", conv(conv_reference), conv(conv_reference)),
    ]
    elements = batch * length * width
    return Problem(
        f"short_conv with silu, kernel 3, {str(dtype).removeprefix('torch.')}",
        f"({batch},{length},{width})",
        sizes(batch, length, width, dtype),
        contenders,
        {
            "forward": ceilings.floor(2 * dtype.itemsize * elements, 0),
            "forward+backward": ceilings.floor((2 + 3) * dtype.itemsize * elements, 0),
        },
        [sizes(2, 300, 64, kind) for kind in (dtype, torch.float32)],
        graph=batch == TRAINING_BATCH,
        training=batch == TRAINING_BATCH,
    )


def _wkv(
    ceilings: Ceilings, length: int, dtype: torch.dtype, heads: int = 2, d: int = 64
) -> Problem:
    from recall_bench.kernels.wkv import triton

    def sizes(batch: int) -> list[Tensor]:
        rates = -torch.linspace(-6, -1, heads * d, device=DEVICE).exp().view(heads, d)
        bonus = _random(heads, d, dtype=torch.float32)
        return [*(_random(batch, length, heads, d, dtype=dtype) for _ in range(3)), rates, bonus]

    exact: Any = wkv_reference.wkv
    elements = TRAINING_BATCH * length * heads * d
    forward = ceilings.floor((3 * dtype.itemsize + 4) * elements, 0)
    return Problem(
        f"wkv, {_precision_name(dtype)}",
        f"({TRAINING_BATCH},{heads},{length},{d})",
        sizes(TRAINING_BATCH),
        [Contender(OURS, triton.wkv, exact), Contender("recall-bench reference", exact, exact)],
        {
            "forward": forward,
            "forward+backward": forward + ceilings.floor((6 * dtype.itemsize + 4) * elements, 0),
        },
        [sizes(3)],
        graph=True,
        tf32=dtype == torch.float32,
        training=True,
    )
