"""`recall-bench bench kernels`: times our kernels, other people's, and the floor in one process.

Every implementation is first compared with the float64 reference, forward and gradients; one that
fails is never timed. The floor is the larger of the bytes that must move over the measured
copy bandwidth, and the operations over the measured bf16 matrix rate.
"""

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from recall_bench import kernels
from recall_bench.bench import record as records
from recall_bench.errors import UserError
from recall_bench.kernels.plumbing import dispatch
from recall_bench.kernels.plumbing.problem import OURS, Ceilings, Contender, Problem
from recall_bench.store.files import write_file
from recall_bench.store.record import TimingRecord
from recall_bench.training import environment

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2}
TF32_TOLERANCE = 5e-3


def bench_kernels(output_dir: Path, console: Console | None = None) -> TimingRecord:
    """Prove, time, print, and write ``kernels.json``, ``kernels.md`` and ``kernels.png``.

    Raises `UserError` without a CUDA device.
    """
    if not torch.cuda.is_available():
        raise UserError("`bench kernels` times GPU kernels and needs a CUDA device; there is none.")
    console = console or Console(width=140)
    device = torch.device("cuda")
    ceilings = measure_ceilings(device)
    ran = environment.describe_host(device)
    record = records.begin("kernels", ran, ceilings._asdict())
    output_dir.mkdir(parents=True, exist_ok=True)
    proofs: dict[Any, str | None] = {}
    for problem in problems(ceilings, device):
        record = records.extended(record, run(problem, proofs))
        console.print(f"measured {problem.operation} {problem.size}")
        records.write(record, output_dir / "kernels.json")
        write_file(output_dir / "kernels.md", markdown(record).encode())
    record = records.complete(record)
    records.write(record, output_dir / "kernels.json")
    for shown in tables(record.rows):
        console.print(shown)
    plot(record.rows, output_dir / "kernels.png")
    return record


def problems(ceilings: Ceilings, device: torch.device) -> Iterator[Problem]:
    """The problems of every operator that has a `problem.py`, in the order of the table."""
    for op in dispatch.operations():
        name = f"{kernels.__name__}.{op}.problem"
        if importlib.util.find_spec(name) is not None:
            with device:
                timed = importlib.import_module(name).problems(ceilings)
            yield from timed


def measure_ceilings(device: torch.device) -> Ceilings:
    """Time a large device-to-device copy, and a large bf16 matrix product on random data."""
    source = torch.randn(2**29, device=device)
    copy = timed(lambda: source.clone(), graph=False)
    a, b = (torch.randn(8192, 8192, device=device, dtype=torch.bfloat16) for _ in range(2))
    product = timed(lambda: a @ b, graph=False)
    return Ceilings(2e3 * source.numel() * 4 / copy, 2e3 * 8192**3 / product)


def run(problem: Problem, proofs: dict[Any, str | None] | None = None) -> list[dict[str, Any]]:
    """One row for each contender and pass, with a time only if the proof succeeds.

    ``proofs`` keeps the outcomes, so that each proof runs once.
    """
    proofs = {} if proofs is None else proofs
    rows = []
    for contender in problem.contenders:
        shapes = tuple(tuple(x.shape) for tensors in problem.proof for x in tensors)
        key = problem.operation, contender.name, shapes, problem.proof[0][0].dtype
        if key not in proofs:
            with _precision(problem):
                proofs[key] = _first_failure(problem, contender)
        reason = proofs[key]
        for name, floor in problem.floors.items():
            row = {
                "operation": problem.operation,
                "size": problem.size,
                "length": problem.length,
                "pass": name,
                "implementation": contender.name,
                "training": problem.training,
                "milliseconds": None,
                "replayed": None,
                "floor": floor,
                "reason": reason,
            }
            if reason is None:
                try:
                    call = training_call if name == "forward+backward" else inference_call
                    with _precision(problem):
                        prepared = call(contender, contender.inputs or problem.inputs)
                        row["milliseconds"] = timed(prepared, problem.graph)
                        if contender.name == OURS and not problem.graph:
                            row["replayed"] = timed(prepared, graph=True)
                except Exception as error:
                    row["reason"] = f"does not run: {type(error).__name__}: {error}"[:200]
            rows.append(row)
    return rows


@contextmanager
def _precision(problem: Problem) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if problem.tf32 else before)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _first_failure(problem: Problem, contender: Contender) -> str | None:
    gradients = "step" not in problem.floors
    try:
        for tensors in problem.proof if contender.name == OURS else problem.proof[:1]:
            tolerance = TF32_TOLERANCE if problem.tf32 else TOLERANCE[tensors[0].dtype]
            if reason := prove(contender, tensors, tolerance, gradients=gradients):
                return reason
    except Exception as error:
        return f"does not run: {type(error).__name__}: {error}"[:200]
    return None


def prove(
    contender: Contender, tensors: Sequence[Tensor], tolerance: float, *, gradients: bool = True
) -> str | None:
    """The first result further than ``tolerance`` from the float64 reference, None if all agree."""
    if contender.exact is None:
        return None
    ours = [x.detach().requires_grad_(gradients) for x in tensors]
    exact = [x.detach().double().requires_grad_(gradients) for x in tensors]
    expected = _tuple(contender.exact(*exact))
    weights = [torch.randn_like(x) for x in expected]
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)  # fills new memory with NaN
    try:
        got = _tuple(contender.function(*ours))
        casts = [w.to(y.dtype) for w, y in zip(weights, got, strict=True)]
        pairs = [(f"output {i}", *pair) for i, pair in enumerate(zip(got, expected, strict=True))]
        if gradients:
            both = zip(
                torch.autograd.grad(got, ours, casts),
                torch.autograd.grad(expected, exact, [w.double() for w in casts]),
                strict=True,
            )
            pairs += [(f"gradient {i}", *pair) for i, pair in enumerate(both)]
    finally:
        torch.use_deterministic_algorithms(before)
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
    weights = [torch.randn_like(y) for y in _tuple(contender.function(*leaves))]

    def call() -> tuple[Tensor, ...]:
        return torch.autograd.grad(_tuple(contender.function(*leaves)), leaves, weights)

    return call


def timed(function: Callable[[], Any], graph: bool) -> float:
    """Median milliseconds of one call; the benchmark flushes the caches between calls."""
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


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    time, floor, replayed = row["milliseconds"], row["floor"], row["replayed"]
    return (
        row["operation"],
        row["size"],
        row["pass"],
        row["implementation"],
        row["reason"] if time is None else f"{time:.4f}",
        "" if replayed is None else f"{replayed:.4f}",
        "" if floor is None else f"{floor:.4f}",
        "" if time is None or not floor else f"{time / floor:.1f}",
    )


HEADINGS = ("operation", "size", "pass", "implementation", "ms", "replayed", "floor ms", "floors")


KERNELS, TRAINING = "Kernels", "Training shapes"


def _by_title(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Table title -> its rows, without empty tables."""
    rows_by_title: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        rows_by_title.setdefault(TRAINING if row["training"] else KERNELS, []).append(row)
    return rows_by_title


def tables(rows: Sequence[dict[str, Any]]) -> list[Table]:
    """The rows as tables for a terminal."""
    shown = []
    for title, chosen in _by_title(rows).items():
        shown.append(Table(*HEADINGS, title=title))
        for row in chosen:
            shown[-1].add_row(*_cells(row))
    return shown


def markdown(record: TimingRecord) -> str:
    """The record as a Markdown page."""
    ceilings, ran = record.machine, record.environment
    lines = [
        "# Kernel times",
        "",
        f"`{record.command}` on one {ran['device']}; "
        + ", ".join(f"{name} {version}" for name, version in ran["packages"].items())
        + ".",
        "",
        "Median of `triton.testing.do_bench` in milliseconds. Decode steps and training shapes are "
        "timed as replays of a CUDA graph; elsewhere a column gives that time for our kernels. "
        "Sizes are (batch, heads, length, d_v), feature dimension 16, bfloat16, unless the "
        "operation says otherwise. Each implementation passed the correctness check in the same "
        "process before it was timed. The floor follows from the copy bandwidth and the bf16 "
        f"matrix rate measured here: {ceilings['bytes_per_second'] / 1e12:.2f} TB/s and "
        f"{ceilings['operations_per_second'] / 1e12:.0f} TFLOP/s.",
    ]
    for title, rows in _by_title(record.rows).items():
        lines += ["", f"## {title}", "", "| " + " | ".join(HEADINGS) + " |"]
        lines += ["|" + " --- |" * len(HEADINGS)]
        lines += ["| " + " | ".join(_cells(row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Time against length on logarithmic axes: forward solid, training dashed, floors dotted."""
    from recall_bench.reports.style import new_figure, print_style, save

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
