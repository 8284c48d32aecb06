"""Command lines of every verb, with odd values at odd places."""

import inspect
from pathlib import Path
from random import Random

from fuzz import odd
from fuzz.case import Case
from recall_bench import registry
from recall_bench.cli.options import flag_of
from recall_bench.cli.verbs import benches, catalogue, checks, results, runs
from recall_bench.config import ModelConfig, TrainingConfig
from recall_bench.recipes import presets

VERBS = {
    "list": catalogue.list_everything,
    "show": catalogue.show,
    "train": runs.train,
    "sweep": runs.sweep,
    "plot": results.plot,
    "report": results.report,
    "check": checks.check,
    "export": results.export,
    "import": results.import_records,
    "bench training": benches.bench_training,
}
UNSAFE = {"--output", "--over", "--store", "--plugin", "--debug"}
"""Flags whose values the generator chooses itself, so that files stay in the case's directory."""
NEEDED = {"train": ["--arch"], "sweep": ["--arch"], "plot": ["--output"], "export": ["--output"]}


def make(draw: Random, directory: Path) -> Case:
    if draw.random() < 0.02:
        return Case([odd.WORDS[draw.randrange(len(odd.WORDS))] for _ in range(draw.randrange(3))])
    verb = draw.choice(list(VERBS))
    words = verb.split()
    architectures, tasks = registry.architectures.builtin(), registry.tasks.builtin()
    flags = [*flags_of(verb), "--no-such-flag"]
    if verb in ("show", "train", "sweep"):
        task = draw.choice(tasks)
        arch = draw.choice(architectures)
        words += [task] if verb == "show" else ["--task", task]
        for model in (registry.tasks.get(task), registry.architectures.get(arch)):
            flags += [flag_of(name) for name in model.model_fields]
        flags += [flag_of(n) for n in (*TrainingConfig.model_fields, *ModelConfig.model_fields)]
        words += ["--preset", draw.choice([*presets.PRESETS, "smoke", "smoke"])]
        words += [] if verb == "show" else ["--arch", arch]
    elif verb in ("check", "list", "import"):
        words += [word(draw)]
    elif verb == "bench training":
        names = draw.choice(["", ",", " ", "no-such"])  # anything valid would take minutes
        words += ["--arch", names, "--output", "timed"]
    for flag in NEEDED.get(verb, []):
        if flag not in words and draw.random() < 0.9:
            words += [flag, draw.choice(["out.png", "out.jsonl", "out.svg", "x", ".", "/dev/full"])]
    for _ in range(draw.randrange(3)):
        flag = draw.choice(flags)
        words += [f"{flag}={word(draw)}"] if draw.random() < 0.3 else [flag, word(draw)]
    if draw.random() < 0.05 and verb != "bench training":
        del words[draw.randrange(len(words))]
    if verb == "check" and words[1:2] != [] and words[1] in (*architectures, *tasks):
        words += ["--device", "tpu"]  # the checks themselves have their own tests
    return Case(words)


def flags_of(verb: str) -> list[str]:
    """The flags of a verb with a value, but those in `UNSAFE`."""
    parameters = inspect.signature(VERBS[verb]).parameters
    unsafe = {*UNSAFE, "--arch"} if verb == "bench training" else UNSAFE
    return [flag for name in parameters if (flag := flag_of(name)) not in unsafe]


def word(draw: Random) -> str:
    if draw.random() < 0.3:
        return draw.choice([*registry.architectures.builtin(), *registry.tasks.builtin(), "8", "0"])
    return draw.choice(odd.WORDS)
