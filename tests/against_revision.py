"""Compares the numbers of the working tree with those of an older revision, for whoever moves code.

    python tests/against_revision.py REVISION

Each tree is imported by a process of its own, on a CPU with one thread, and gets the same weights
and inputs. These must be equal to the last bit, for every built-in architecture:

- in float64 the outputs of `forward` and `at` of each layer, and all their gradients;
- the measured bytes of the states;
- of a smoke run the name, the curve and the scores.

`at`, `prefill` and `step` may differ by 1e-12 of the largest; the layout of a state is free.
Weights are matched by name, or by order where names have changed. Exits with 1 on any difference.
"""

import importlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import traceback
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
TOLERANCE = 1e-12
WIDTH, BATCH = 16, 2
LENGTHS = (1, 7, 64, 150)
STEPS = 5
MEASURED = (1, 40, 300)

KNOBS: dict[str, list[dict[str, Any]]] = {
    "based": [
        {"feature_dim": 4, "window": 8, "num_heads": 2},
        {"feature_dim": 8, "window": 16, "rotary": True, "kernel_size": 5},
        {"window": 0},
    ],
    "taylor-attention": [{"feature_dim": 4}, {"feature_dim": 8, "num_heads": 4}],
    "sliding-window": [
        {"window": 1},
        {"window": 16, "num_heads": 2},
        {"window": 8, "num_heads": 2, "rotary": True},
        {"window": 200, "rotary": True},
    ],
    "attention": [{}, {"num_heads": 4}, {"num_heads": 2, "rotary": True}],
    "short-conv": [
        {},
        {"kernel_size": 1},
        {"kernel_size": 12},
        {"form": "language-model"},
        {"form": "language-model", "kernel_size": 9},
    ],
    "mamba": [{"d_state": 4}, {"d_state": 16}, {"d_state": 24, "d_conv": 2, "expand": 1}],
    "h3": [
        {"d_state": 4},
        {"d_state": 8},
        {"d_state": 16},
        {"d_state": 4, "head_dim": 2},
        {"d_state": 16, "head_dim": 2},
    ],
    "rwkv": [{"head_dim": 16}, {"head_dim": 4}],
}

Numbers = dict[str, Any]
"""Tensors, sizes and scores of one architecture. A name that ends in ROUNDED may be rounded."""

ROUNDED = " (rounded)"
FAILURE = "failure"


def main(revision: str) -> int:
    """Print a line for each architecture; 1 where anything differs."""
    with tempfile.TemporaryDirectory() as folder:
        old_tree, old_file, new_file = (Path(folder) / name for name in ("tree", "old", "new"))
        extract(revision, old_tree)
        run(old_tree, old_file)
        run(ROOT, new_file, old_file)
        old, new = torch.load(old_file), torch.load(new_file)
    failed = False
    for name in KNOBS:
        count, different = len(old[name]), differences(old[name], new[name])
        verdict = f"all {count} numbers and tensors are equal"
        if different:
            verdict = f"{len(different)} of {count} differ; {different[0]}"
        print(f"{name:<18}{verdict}")
        failed |= bool(different)
    return int(failed)


def extract(revision: str, folder: Path) -> None:
    """Write the package as it was in a revision of this repository into a folder."""
    command = ["git", "-C", str(ROOT), "archive", revision, "recall_bench"]
    archive = subprocess.run(command, capture_output=True)
    if archive.returncode:
        sys.exit(archive.stderr.decode())
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")


def run(tree: Path, file: Path, earlier: Path | None = None) -> None:
    """Have a process that imports the package in ``tree`` write its numbers to ``file``."""
    variables = {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    files = [str(path) for path in (tree, file, earlier) if path]
    command = [sys.executable, "-P", __file__, "--compute", *files]
    subprocess.run(command, check=True, cwd=tree, env=os.environ | variables)


def differences(old: Numbers, new: Numbers) -> list[str]:
    """What is not equal, and how far apart it is."""
    for tree, numbers in (("older", old), ("working", new)):
        if FAILURE in numbers:
            return [f"the {tree} tree fails with {numbers[FAILURE]}"]
    found = [f"{what} is in one tree only" for what in sorted(old.keys() ^ new.keys())]
    for what in [what for what in old if what in new]:
        x, y = old[what], new[what]
        if not (isinstance(x, Tensor) and isinstance(y, Tensor)):
            same, detail = x == y, f"was {x}, is {y}"
        elif (x.shape, x.dtype) != (y.shape, y.dtype):
            same, detail = False, f"was {x.dtype} {list(x.shape)}, is {y.dtype} {list(y.shape)}"
        else:
            apart, largest = (x - y).abs().max().item(), x.abs().max().item()
            rounded = what.endswith(ROUNDED)
            same = apart <= TOLERANCE * largest if rounded else torch.equal(x, y)
            detail = f"off by {apart:.1e}, the largest is {largest:.1e}"
        if not same:
            found.append(f"{what} {detail}")
    return found


def compute(tree: str, file: str, earlier: str | None = None) -> None:
    """Write the numbers of all architectures; ``earlier`` is the file of the older tree."""
    registry = importlib.import_module("recall_bench.registry")
    assert Path(registry.__file__).is_relative_to(tree), registry.__file__
    known = torch.load(earlier) if earlier else {}
    numbers: dict[str, Numbers] = {}
    for name in KNOBS:
        try:
            kind = registry.architectures.get(name)
            numbers[name] = smoke_run(name) | layers(name, kind, known.get(name, {}))
        except Exception as error:  # one broken architecture hides no other
            (where,) = traceback.extract_tb(error.__traceback__)[-1:]
            place = f"{Path(where.filename).name}:{where.lineno}"
            numbers[name] = {FAILURE: f"{type(error).__name__}: {error} ({place})"}
    torch.save(numbers, file)


def smoke_run(name: str) -> Numbers:
    """Train one run of the preset "smoke"."""
    smoke = moved("recall_bench.recipes.presets", "recall_bench.presets").get("smoke")
    config = moved("recall_bench.config").RunConfig(
        task={"name": "mqar", **smoke.options("mqar")},
        architecture={"name": name},
        model=smoke.model,
        training={**smoke.training, "learning_rate": smoke.learning_rates[0]},
    )
    record = moved("recall_bench.training").train(config, device="cpu")
    fields = ("run_id", "status", "data_hash", "validation_accuracy", "test_accuracy", "test_loss")
    numbers = {f"smoke: {field}": getattr(record, field) for field in fields}
    numbers["smoke: segments"] = [score.model_dump() for score in record.segments]
    numbers["smoke: curve"] = [
        point.model_dump(exclude={"seconds"}, exclude_defaults=True) for point in record.curve
    ]
    numbers["smoke: bytes"] = [layer.bytes for layer in record.memory.layers]
    numbers["smoke: parameters"] = record.memory.parameters
    return numbers


def layers(name: str, kind: Any, earlier: Numbers) -> Numbers:
    """Run every layer of an architecture at each setting of its knobs."""
    numbers: Numbers = {}
    measure = moved("recall_bench.model.state_size", "recall_bench.memory").measure_layers
    for knobs in KNOBS[name]:
        architecture = kind(d_model=WIDTH, **knobs)
        for length in MEASURED:
            measured = [layer.bytes for layer in measure(architecture, length)]
            numbers[f"{knobs}: bytes after {length} tokens"] = measured
        for index, (_, mixer) in enumerate(architecture.stack()):
            what = f"{knobs}, layer {index}"
            parameters = same_parameters(mixer.double(), what, earlier, numbers)
            for length in LENGTHS:
                forms(mixer, parameters, f"{what}, {length} tokens", length, numbers)
    return numbers


def same_parameters(
    mixer: nn.Module, what: str, earlier: Numbers, numbers: Numbers
) -> dict[str, Tensor]:
    """Give a mixer the weights that the older tree had; its parameters, by their older names."""
    prefix = f"{what}: weight "
    known = {key.removeprefix(prefix): earlier[key] for key in earlier if key.startswith(prefix)}
    parameters: dict[str, Tensor] = dict(mixer.named_parameters())
    if known and known.keys() != parameters.keys():
        parameters = dict(zip(known, parameters.values(), strict=True))
    random = generator(what)
    with torch.no_grad():
        for name, parameter in parameters.items():
            drawn = 0.3 * torch.randn(parameter.shape, generator=random, dtype=parameter.dtype)
            weight = known.get(name, drawn)
            assert weight.shape == parameter.shape, f"{name}: {weight.shape} != {parameter.shape}"
            parameter.copy_(weight)
            numbers[prefix + name] = weight
    return parameters


def forms(
    mixer: Any, parameters: dict[str, Tensor], what: str, length: int, numbers: Numbers
) -> None:
    """Run a mixer in all its forms on one input."""
    random = generator(what)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    x = draw(BATCH, length, WIDTH).requires_grad_()
    positions = draw(BATCH, length).argsort(1)[:, : 1 + length // 3].sort(1).values
    for form, y in (("forward", mixer(x)), ("at", mixer.at(x, positions))):
        rounded = ROUNDED if form == "at" else ""  # the last map may see fewer rows at once
        numbers[f"{what}: {form}{rounded}"] = y.detach()
        wanted = {"the input": x, **parameters}
        gradients = torch.autograd.grad(y, list(wanted.values()), draw(*y.shape), allow_unused=True)
        for name, gradient in zip(wanted, gradients, strict=True):
            numbers[f"{what}: gradient of {name} through {form}{rounded}"] = gradient
    with torch.no_grad():
        y, prefilled = mixer.prefill(x)
        numbers[f"{what}: prefill{ROUNDED}"] = y
        starts = {"initial state": mixer.initial_state(BATCH), "prefill": prefilled}
        for start, state in starts.items():
            for step in range(STEPS):
                y, state = mixer.step(draw(BATCH, WIDTH), state)
                numbers[f"{what}: step {step} from the {start}{ROUNDED}"] = y


def generator(what: str) -> torch.Generator:
    """The same random numbers for the same purpose, in both trees."""
    return torch.Generator().manual_seed(zlib.crc32(what.encode()))


def moved(*names: str) -> Any:
    """The first of these modules that the tree has: the same one, before and after it moved."""
    for name in names[:-1]:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if not (error.name and name.startswith(error.name)):
                raise
    return importlib.import_module(names[-1])


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--compute", *files]:
            compute(*files)
        case [revision]:
            sys.exit(main(revision))
        case _:
            sys.exit("Usage: python tests/against_revision.py REVISION")
