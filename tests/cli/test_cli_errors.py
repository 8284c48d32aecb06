"""One message reports the mistake in a command line and leads to what is right."""

from pathlib import Path

import pytest
from command_line import Command, start

SWEEP = ("sweep", "--arch", "based")

REFUSED = [
    (("sweep", "--arch", "basd"), ["Unknown architecture 'basd'", "'based'", "mamba"]),
    (("sweep", "--arch", ","), ["--arch ','", "Available: attention, based"]),
    (("sweep",), ["Missing option '--arch'"]),
    (("swep",), ["No such command 'swep'", "'sweep'"]),
    ((*SWEEP, "--task", "mqr"), ["Unknown task 'mqr'", "'mqar'"]),
    ((*SWEEP, "--preset", "quik"), ["Unknown preset 'quik'", "'quick'", "figure2"]),
    ((*SWEEP, "--feature-dm", 4), ["--feature-dm", "Did you mean --feature-dim?"]),
    ((*SWEEP, "--d-state", 4), ["--d-state", "sweep --arch NAME --help"]),
    ((*SWEEP, "--feature-dim", 0), ["--feature-dim 0", "an integer, 1 to 256", "nearest is 1"]),
    ((*SWEEP, "--feature-dim", "8,999"), ["--feature-dim 999", "1 to 256", "nearest is 256"]),
    ((*SWEEP, "--feature-dim", "many"), ["--feature-dim many", "an integer, 1 to 256"]),
    ((*SWEEP, "--feature-dim", 4.5), ["--feature-dim 4.5", "an integer, 1 to 256"]),
    ((*SWEEP, "--rotary", "maybe"), ["--rotary maybe", "true or false"]),
    ((*SWEEP, "--num-heads", 7), ["multiple of num_heads", "d_model=32, num_heads=7"]),
    ((*SWEEP, "--layers", "shrt-conv+self"), ["'shrt-conv'", "Did you mean 'short-conv'"]),
    ((*SWEEP, "--layers", "short-conv++self"), ["empty entry", "'short-conv+self'"]),
    ((*SWEEP, "--layers", "self{windw=3},self"), ["no knob 'windw'", "Did you mean 'window'"]),
    ((*SWEEP, "--layers", "self{window=3,self"), ["'{' without its '}', at character 5"]),
    ((*SWEEP, "--layers", "[self|mamba]gate"), ["'[self|mamba]gate'", "not available yet"]),
    ((*SWEEP, "--layers", "[bold]self"), ["layers='[bold]self'"]),
    ((*SWEEP, "--layers", "mamba{d_state=0}"), ["mamba{d_state=0}", "greater than", "Got '0'"]),
    (
        ("sweep", "--arch", "based,sliding-window", "--window", 0),
        ["--window 0 for sliding-window", "nearest is 1"],
    ),
    ((*SWEEP, "--filler", "dist"), ["--filler dist", "any or zero", "Did you mean 'distinct'"]),
    ((*SWEEP, "--train", "64:17:100"), ["17 pairs do not fit a length of 64", "at most 16"]),
    ((*SWEEP, "--train", "64:4"), ["--train 64:4", "length:pairs:examples"]),
    ((*SWEEP, "--train", "64:0:9"), ["--train 64:0:9", "0.pairs", "Got 0"]),
    ((*SWEEP, "--vocab-size", 20), ["too few distinct keys", "vocab_size of 34 is enough"]),
    ((*SWEEP, "--vocab-size", 2), ["--vocab-size 2", "at least 4", "nearest is 4"]),
    ((*SWEEP, "--epochs", 0), ["--epochs 0", "an integer, at least 1"]),
    ((*SWEEP, "--weight-decay", "nan"), ["--weight-decay nan", "a number, at least 0"]),
    ((*SWEEP, "--learning-rates", "1e-3,fast"), ["--learning-rates fast", "a number, above 0"]),
    ((*SWEEP, "--learning-rates", "inf"), ["--learning-rates inf", "a number, above 0"]),
    ((*SWEEP, "--seeds", "0"), ["--seeds 0", "at least 1", "0,5"]),
    ((*SWEEP, "--seeds", "-1,2"), ["--seeds -1,2", "0,5"]),
    ((*SWEEP, "--processes", 0), ["--processes", "greater than or equal to 1"]),
    (("train", "--arch", "based,h3"), ["one architecture", "`sweep`"]),
    (("train", "--arch", "based", "--window", "0,16"), ["one value per knob", "`sweep`"]),
    (("train", "--arch", "based", "--learning-rate", -1), ["--learning-rate -1.0", "above 0"]),
    (("show", "coping"), ["Unknown task 'coping'", "Did you mean 'copying'"]),
    (("show", "mqar", "--vocab-size", 8), ["too few distinct keys", "vocab_size of 10"]),
    (("check", "basd"), ["'basd'", "Did you mean 'based'", "mqar"]),
    (("report", "--store", "nowhere"), ["nowhere does not exist"]),
    (("plot", "--output", "a.png", "--store", "nowhere"), ["nowhere does not exist"]),
    (("plot",), ["Missing option '--output'"]),
    (("export", "--output", "a.jsonl", "--store", "nowhere"), ["nowhere does not exist"]),
]


@pytest.mark.parametrize(("words", "messages"), REFUSED, ids=lambda part: " ".join(map(str, part)))
def test_what_is_wrong_is_named_with_what_was_expected(
    recall_bench: Command, tmp_path: Path, words: tuple, messages: list[str]
) -> None:
    recall_bench(*words).refused(*messages)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--device", "gpu"), "Unknown device 'gpu'. Expected auto, cpu, cuda or cuda:N."),
        (("--device", "cpu", "--precision", "tf32"), "precision=tf32 needs a CUDA device"),
    ],
)
def test_a_device_that_cannot_do_it_is_no_fault_of_the_runs(
    recall_bench: Command, tmp_path: Path, words: tuple, message: str
) -> None:
    command = ("sweep", "--arch", "short-conv", "--preset", "smoke", "--processes", 1)
    recall_bench(*command, *words).refused(message)
    assert list(tmp_path.glob("runs/*/record.json")) == []


def test_debug_shows_the_traceback_before_the_message(recall_bench: Command) -> None:
    for words in (("sweep", "--arch", "basd"), ("sweep", "--arch", "based", "--no-knob", 1)):
        outcome = recall_bench(*words, "--debug")
        assert outcome.code == 2
        assert outcome.err.startswith("Traceback (most recent call last)")
        assert outcome.err.splitlines()[-1].startswith("Error: ")


def test_the_installed_command_ends_with_2_and_one_message(tmp_path: Path) -> None:
    process = start(tmp_path, "sweep", "--arch", "based", "--window", "wide")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert err == "Error: --window wide for based: expected an integer, 0 to 1048576.\n"
