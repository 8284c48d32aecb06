"""`recall-bench bench kernels`: our kernels, other people's, and the floor, in one process.

Every implementation first proves itself against the float64 reference, forward and gradients; one
that fails is never timed. The floor is the larger of the bytes that must move over the measured
copy bandwidth, and the operations over the measured bf16 matrix rate.
"""

import importlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from recall_bench import environment
from recall_bench.errors import UserError
from recall_bench.files import write_file
from recall_bench.kernels.selective_scan import reference as scan_reference
from recall_bench.kernels.short_conv import reference as conv_reference
from recall_bench.kernels.sliding_window_attention import reference as window_reference
from recall_bench.kernels.taylor_attention import TaylorState, packed_size
from recall_bench.kernels.taylor_attention import reference as taylor_reference

OURS = "recall-bench"
DEVICE = "cuda"
FEATURE_DIM = 16
WINDOW = 64
SHAPES = ((8, 16, 2048, 64), (8, 16, 2048, 128), (4, 16, 8192, 64), (1, 16, 32768, 64))
"""(batch, heads, length, d_v) of the attention kernels."""
LENGTHS = (2048, 4096, 8192, 16384, 32768, 65536)
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2}


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
    """Whether to time replays of a CUDA graph, as decoding runs, and not single calls."""


def bench_kernels(output_dir: Path, console: Console | None = None) -> list[dict[str, Any]]:
    """Prove, time, print, and write ``kernels.json``, ``kernels.md`` and ``kernels.png``.

    Raises `UserError` without a CUDA device.
    """
    if not torch.cuda.is_available():
        raise UserError("`bench kernels` times GPU kernels and needs a CUDA device; there is none.")
    console = console or Console(width=140)
    ceilings = measure_ceilings()
    record: dict[str, Any] = {
        "command": " ".join(["recall-bench", *sys.argv[1:]]),
        "device": environment.device_name(torch.device("cuda")),
        "packages": environment.package_versions(),
        "git": environment.git_state(),
        "ceilings": ceilings._asdict(),
        "timing": "median of triton.testing.do_bench, milliseconds",
        "rows": [],
    }
    output_dir.mkdir(parents=True, exist_ok=True)
    proofs: dict[Any, str | None] = {}
    for problem in problems(ceilings):
        record["rows"] += run(problem, proofs)
        console.print(f"measured {problem.operation} {problem.size}")
        write_file(output_dir / "kernels.json", (json.dumps(record, indent=1) + "\n").encode())
        write_file(output_dir / "kernels.md", markdown(record).encode())
    console.print(table(record["rows"]))
    plot(record["rows"], output_dir / "kernels.png")
    return list(record["rows"])


def measure_ceilings() -> Ceilings:
    """A large device-to-device copy, and a large bf16 matrix product on random data."""
    source = torch.randn(2**29, device=DEVICE)
    copy = timed(lambda: source.clone(), graph=False)
    a, b = (torch.randn(8192, 8192, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    product = timed(lambda: a @ b, graph=False)
    return Ceilings(2e3 * source.numel() * 4 / copy, 2e3 * 8192**3 / product)


def run(problem: Problem, proofs: dict[Any, str | None] | None = None) -> list[dict[str, Any]]:
    """One row for each contender and pass; the time only where the proof holds.

    ``proofs`` keeps the outcome of proofs, so that each is made once.
    """
    proofs = {} if proofs is None else proofs
    rows = []
    for contender in problem.contenders:
        shapes = tuple(tuple(x.shape) for tensors in problem.proof for x in tensors)
        key = problem.operation, contender.name, shapes
        if key not in proofs:
            proofs[key] = _first_failure(problem, contender)
        reason = proofs[key]
        for name, floor in problem.floors.items():
            row = {
                "operation": problem.operation,
                "size": problem.size,
                "length": problem.length,
                "pass": name,
                "implementation": contender.name,
                "milliseconds": None,
                "floor": floor,
                "reason": reason,
            }
            if reason is None:
                try:
                    call = training_call if name == "forward+backward" else inference_call
                    inputs = contender.inputs or problem.inputs
                    row["milliseconds"] = timed(call(contender, inputs), problem.graph)
                except Exception as error:
                    row["reason"] = f"does not run: {type(error).__name__}: {error}"[:200]
            rows.append(row)
    return rows


def _first_failure(problem: Problem, contender: Contender) -> str | None:
    gradients = "step" not in problem.floors
    try:
        for tensors in problem.proof if contender.name == OURS else problem.proof[:1]:
            if reason := prove(contender, tensors, gradients=gradients):
                return reason
    except Exception as error:
        return f"does not run: {type(error).__name__}: {error}"[:200]
    return None


def prove(contender: Contender, tensors: Sequence[Tensor], *, gradients: bool = True) -> str | None:
    """What differs from the float64 reference, None if nothing does."""
    if contender.exact is None:
        return None
    ours = [x.detach().requires_grad_(gradients) for x in tensors]
    exact = [x.detach().double().requires_grad_(gradients) for x in tensors]
    wanted = _tuple(contender.exact(*exact))
    weights = [torch.randn_like(x) for x in wanted]
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)  # new memory is NaN, not old results
    try:
        got = _tuple(contender.function(*ours))
        casts = [w.to(y.dtype) for w, y in zip(weights, got, strict=True)]
        pairs = [(f"output {i}", *pair) for i, pair in enumerate(zip(got, wanted, strict=True))]
        if gradients:
            both = zip(
                torch.autograd.grad(got, ours, casts),
                torch.autograd.grad(wanted, exact, [w.double() for w in casts]),
                strict=True,
            )
            pairs += [(f"gradient {i}", *pair) for i, pair in enumerate(both)]
    finally:
        torch.use_deterministic_algorithms(before)
    tolerance = TOLERANCE[tensors[0].dtype]
    for name, a, b in pairs:
        error = ((a.double() - b).norm() / b.norm()).item()
        if not error < tolerance:
            return f"wrong: {name} is off by {error:.1e}, allowed {tolerance:.0e}"
    return None


def _tuple(outputs: Any) -> tuple[Tensor, ...]:
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


def inference_call(contender: Contender, tensors: Sequence[Tensor]) -> Callable[[], Any]:
    def call() -> Any:
        with torch.no_grad():
            return contender.function(*tensors)

    return call


def training_call(contender: Contender, tensors: Sequence[Tensor]) -> Callable[[], Any]:
    leaves = [x.detach().requires_grad_() for x in tensors]
    weight = torch.randn_like(contender.function(*leaves))

    def call() -> tuple[Tensor, ...]:
        return torch.autograd.grad(contender.function(*leaves), leaves, weight)

    return call


def timed(function: Callable[[], Any], graph: bool) -> float:
    """Median milliseconds of one call, caches flushed in between."""
    from triton.testing import do_bench

    function()
    if graph:
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            function()
        torch.cuda.synchronize()
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured):
            function()
        function = captured.replay
    return float(do_bench(function, warmup=10, rep=60, return_mode="median"))


def problems(ceilings: Ceilings) -> list[Problem]:
    """Everything that is timed, in the order of the table."""
    found = [_taylor(ceilings, *shape) for shape in SHAPES]
    found += [_taylor(ceilings, 1, 16, length, 64, length) for length in LENGTHS]
    found += [_taylor_step(ceilings, batch) for batch in (128, 256, 512)]
    return [*found, _window(ceilings), _scan(ceilings), _conv(ceilings)]


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
        return [*(_random(batch, heads, n, dtype=torch.float32) for n in (d, d, dv)), kv, z]

    def step(module: Any) -> Callable[..., Any]:
        def call(q: Tensor, k: Tensor, v: Tensor, kv: Tensor, z: Tensor) -> tuple[Tensor, ...]:
            y, state = module.taylor_attention_step(q, k, v, TaylorState(kv, z))
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


def _scan(ceilings: Ceilings) -> Problem:
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
    if mamba := _optional("mamba_ssm.ops.selective_scan_interface", "selective_scan_fn"):
        theirs: Any = mamba

        def transposed(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
            inputs = (x.transpose(1, 2).contiguous() for x in (u, delta, B, C))
            u, delta, B, C = inputs
            y: Tensor = theirs(u, delta, A, B, C, delta_softplus=True)
            return y.transpose(1, 2)

        contenders.append(Contender("mamba-ssm", transposed, scan(scan_reference)))
    batch, length, width, n = 32, 1024, 512, 16
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
    )


def _conv(ceilings: Ceilings) -> Problem:
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
    batch, length, width = 32, 2048, 1024
    elements = batch * length * width
    return Problem(
        "short_conv with silu, kernel 3",
        f"({batch},{length},{width})",
        sizes(batch, length, width, torch.bfloat16),
        contenders,
        {
            "forward": ceilings.floor(4 * elements, 0),
            "forward+backward": ceilings.floor((4 + 6) * elements, 0),
        },
        [sizes(2, 300, 64, torch.bfloat16), sizes(2, 300, 64, torch.float32)],
    )


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    time, floor = row["milliseconds"], row["floor"]
    return (
        row["operation"],
        row["size"],
        row["pass"],
        row["implementation"],
        row["reason"] if time is None else f"{time:.4f}",
        "" if floor is None else f"{floor:.4f}",
        "" if time is None or not floor else f"{time / floor:.1f}",
    )


HEADINGS = ("operation", "size", "pass", "implementation", "ms", "floor ms", "times floor")


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """The rows for a terminal."""
    shown = Table(*HEADINGS, title="Kernels")
    for row in rows:
        shown.add_row(*_cells(row))
    return shown


def markdown(record: dict[str, Any]) -> str:
    """The record for a reader."""
    ceilings = record["ceilings"]
    lines = [
        "# Kernel times",
        "",
        f"`{record['command']}` on one {record['device']}; "
        + ", ".join(f"{name} {version}" for name, version in record["packages"].items())
        + ".",
        "",
        "Median of `triton.testing.do_bench` in milliseconds (decode steps: replays of a CUDA "
        "graph). Sizes are (batch, heads, length, d_v), feature dimension 16, bfloat16, unless the "
        "operation says otherwise. Each implementation passed the correctness gate in the same "
        "process before it was timed. The floor follows from the copy bandwidth and the bf16 "
        f"matrix rate measured here: {ceilings['bytes_per_second'] / 1e12:.2f} TB/s and "
        f"{ceilings['operations_per_second'] / 1e12:.0f} TFLOP/s.",
        "",
        "| " + " | ".join(HEADINGS) + " |",
        "|" + " --- |" * len(HEADINGS),
    ]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in record["rows"]]
    return "\n".join(lines) + "\n"


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Time against length on logarithmic axes: forward solid, training dashed, floors dotted."""
    from recall_bench.plot_style import new_figure, print_style, save

    measured = [row for row in rows if row["length"] and row["milliseconds"]]
    with print_style():
        figure, ax = new_figure(6.8, 3.6, "Kernel time against length (1 x 16 heads, d_v = 64)")
        for name, style in (("forward", "-"), ("forward+backward", "--")):
            chosen = [row for row in measured if row["pass"] == name]
            for i, label in enumerate(dict.fromkeys(row["implementation"] for row in chosen)):
                line = [row for row in chosen if row["implementation"] == label]
                times = [row["milliseconds"] for row in line]
                ax.plot(
                    [row["length"] for row in line],
                    times,
                    style,
                    color=f"C{i}",
                    marker="o",
                    markersize=3,
                    label=f"{label}, {name}",
                )
            floors = {row["length"]: row["floor"] for row in chosen}
            ax.plot(list(floors), list(floors.values()), "k:", label=f"floor, {name}")
        lengths = sorted({row["length"] for row in measured})
        ax.set(xscale="log", yscale="log", xlabel="length", ylabel="milliseconds")
        ax.set_xticks(lengths, [f"{length // 1024}k" for length in lengths])
        ax.minorticks_off()
        ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), handlelength=3)
        save(figure, path)
