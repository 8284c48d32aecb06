"""What a command line asks for, as runs."""

import pytest

from recall_bench.cli import options, request
from recall_bench.config import RunConfig


def runs(arch: str, **knobs: str) -> list[RunConfig]:
    given: request.Given = {
        request.TASK: {},
        request.SWEPT_KNOBS: knobs,
        request.RECIPE: {},
        request.BACKBONE: {},
    }
    return request.build_runs(arch, "mqar", "smoke", [1e-3], [0], given)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("8, 16", ["8", "16"]),
        ("self{a=1,b=2},self", ["self{a=1,b=2}", "self"]),
        ("(a{x=1,y=2}+[b,c])*2,d", ["(a{x=1,y=2}+[b,c])*2", "d"]),
        ("a),b", ["a)", "b"]),
        ("a{x=1,b", ["a{x=1,b"]),
    ],
)
def test_commas_separate_values_outside_of_brackets_alone(text: str, values: list[str]) -> None:
    assert options.split_values(text) == values


def test_stacks_are_swept_with_knobs_of_their_own() -> None:
    found = runs("mamba", layers="self{d_state=4,expand=1}*2,self", d_model="16")
    layers = [run.architecture.layers for run in found]
    assert layers == ["self{d_state=4,expand=1}+self{d_state=4,expand=1}", "self"]


def test_two_names_of_one_architecture_are_one_run() -> None:
    assert len(runs("rwkv,rwkv5", head_dim="16")) == 1
