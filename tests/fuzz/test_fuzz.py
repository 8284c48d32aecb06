"""A short form of `make fuzz`, in which hypothesis looks for the smallest case that goes wrong."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.case import Case
from fuzz.running import KINDS, Wrong, judge, run


@pytest.mark.parametrize("kind", KINDS)
def test_a_generated_case_is_right_or_refused_in_one_message(
    kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    @settings(
        max_examples=5,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(number=st.integers(0, 2**31))
    def check(number: int) -> None:
        run(kind, number, tmp_path_factory.mktemp("fuzz") / "work")

    check()


@pytest.mark.parametrize(
    ("code", "err", "what"),
    [
        (1, "Traceback (most recent call last):\nValueError", "a traceback"),
        (1, "", "exit code 1"),
        (2, "", "not exactly one message"),
        (2, "Error: one\nError: two\n", "not exactly one message"),
        (0, "Error: one\n", "not exactly one message"),
        (2, "Error: one\n", "refused what must work"),
    ],
)
def test_the_fuzz_notices_a_wrong_outcome(code: int, err: str, what: str) -> None:
    with pytest.raises(Wrong, match=what):
        judge(Case(["list"], works=True), code, "", err)
    judge(Case(["list"]), 2, "", "Skipped x: y\nError: one\n")


def test_the_fuzz_notices_a_change_outside_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def escapes(draw: object, directory: Path) -> Case:
        (directory / "plug.py").write_text("open('../bystander/notes.txt', 'w').close()")
        return Case(["check", "plug.py"])

    monkeypatch.setitem(KINDS, "plugin", escapes)
    with pytest.raises(Wrong, match="outside the directory changed"):
        run("plugin", 0, tmp_path / "work")
