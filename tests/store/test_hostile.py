"""Records that are wrong, damaged or malicious: skipped by name, and nothing else happens."""

import copy
import gzip
import io
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from sweep_training import toy_record, toy_run

from recall_bench.config import run_name
from recall_bench.errors import UserError
from recall_bench.reports.terminal import points_tables
from recall_bench.store.export import export, load, restore
from recall_bench.store.runs import ResultStore
from recall_bench.store.schemas import Unreadable, parse, stored

QUICK = Path(__file__).parents[2] / "results/quick/records.jsonl"

ODD: list[Any] = [
    *(None, True, 0, -1, 1.5, 1e308, float("nan"), float("inf"), 2**63, 10**30, "", "x", "1"),
    *("$x$", "$\\frac$", "[red]x[/]", "[/red]", "a/b", "../../x", "\0", "x" * 3000, "\n\x1b[31m"),
    *([], {}, [[]], [None], {"a": {"b": [1, None]}}, {"name": "x"}, [1, 2], "{}%s", "漢字"),
]


def published() -> dict[str, Any]:
    """A record of schema 1, without its curve."""
    with QUICK.open() as file:
        return json.loads(next(file)) | {"curve": []}


def today() -> dict[str, Any]:
    return json.loads(stored(toy_record(toy_run(), accuracy=0.75)).text)


def renamed(record: dict[str, Any]) -> dict[str, Any]:
    """The record under the name that follows from its configuration, where it has one."""
    try:
        name = run_name(record["config"], record["versions"], record.get("plugin_digest"))
    except (KeyError, TypeError, ValueError, AttributeError):
        return record
    return record | {"run_id": name}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value[:2]) if isinstance(value, list) else items
    for key, part in items:
        found += places(part, (*path, key))
    return found


def mutations(record: dict[str, Any], count: int, seed: int) -> list[dict[str, Any]]:
    """Copies with one to three values swapped or removed, most under their own true name."""
    draw, found = random.Random(seed), []
    for _ in range(count):
        changed = copy.deepcopy(record)
        for _ in range(draw.choice([1, 1, 2, 3])):
            *path, last = draw.choice(places(changed))
            inner = changed
            for key in path:
                inner = inner[key]
            if draw.random() < 0.2:
                del inner[last]
            else:
                inner[last] = copy.deepcopy(draw.choice(ODD))
        found.append(renamed(changed) if draw.random() < 0.8 else changed)
    return found


@pytest.mark.parametrize("source", [published, today])
def test_no_odd_value_anywhere_breaks_a_reader(source, tmp_path):
    file, good = tmp_path / "all.jsonl", source()
    (tmp_path / "bystander").write_text("untouched")
    lines = [json.dumps(changed) for changed in mutations(good, 200, seed=1)]
    file.write_text("\n".join([json.dumps(good), *lines]))
    table, skipped = load(file)
    assert good["run_id"] in set(table["run_id"])
    assert len(skipped) > 50
    assert all(len(reason) < 2000 for _, reason in skipped)
    Console(file=io.StringIO(), width=200).print(points_tables(table))
    export(table, tmp_path / "again.parquet")
    store = ResultStore(tmp_path / "deep" / "store")
    assert restore(file, store).written == len(table)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("again.parquet", "all.jsonl", "bystander", "deep")
    ]
    assert {path.name for path in store.path.iterdir()} == set(table["run_id"])
    assert (tmp_path / "bystander").read_text() == "untouched"


@pytest.mark.parametrize(
    "run_id",
    [
        *("../../escaped/evil", "/tmp/evil", "..", ".", "", "a\0b", "x" * 3000, "C:\\evil"),
        "mqar-attention-0000000000000000",
    ],
)
def test_no_name_from_a_file_is_followed(run_id, tmp_path):
    outside = tmp_path / "escaped" / "evil"
    outside.mkdir(parents=True)
    (outside / "checkpoint.pt").write_text("mine")
    file = tmp_path / "all.jsonl"
    file.write_text(json.dumps(published() | {"run_id": run_id}))
    done = restore(file, ResultStore(tmp_path / "in" / "runs"))
    assert (done.written, len(done.skipped)) == (0, 1)
    assert list((tmp_path / "in" / "runs").iterdir()) == []
    assert [path.name for path in outside.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("name", ["../../escaped", "a/b", "..", "", "x" * 3000, "a\0", "a\\b"])
@pytest.mark.parametrize("section", ["task", "architecture"])
def test_a_name_that_is_a_path_is_refused_though_the_run_id_follows_from_it(name, section):
    record = published()
    record["config"][section]["name"] = name
    with pytest.raises(Unreadable, match=rf"config\.{section}\.name|control"):
        parse(json.dumps(renamed(record)))


def test_a_link_in_the_store_does_not_lead_an_import_out_of_it(tmp_path):
    record, outside = published(), tmp_path / "outside"
    outside.mkdir()
    (outside / "checkpoint.pt").write_text("mine")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / record["run_id"]).symlink_to(outside)
    (tmp_path / "all.jsonl").write_text(json.dumps(record))
    done = restore(tmp_path / "all.jsonl", ResultStore(tmp_path / "runs"))
    assert (done.written, len(done.skipped)) == (0, 1)
    assert [path.name for path in outside.iterdir()] == ["checkpoint.pt"]


def test_a_run_that_a_process_works_on_is_not_imported_under_its_feet(tmp_path):
    store = ResultStore(tmp_path / "runs")
    (tmp_path / "all.jsonl").write_text(json.dumps(today()))
    with store.claim(toy_run()):
        assert restore(tmp_path / "all.jsonl", store).written == 0
    assert restore(tmp_path / "all.jsonl", store).written == 1


def test_claims_and_records_that_are_no_files_or_no_json_hold_nobody_up(tmp_path):
    store = ResultStore(tmp_path, timeout=0.05)
    directory = store.directory(toy_run().run_id)
    directory.mkdir()
    for content in ("[]", "1", '{"host": 1, "pid": "x"}', "{", "\0", '{"pid": -1}'):
        (directory / "claim.1.json").write_text(content)
        os.utime(directory / "claim.1.json", (0, 0))
        assert not store.held(toy_run().run_id)
    os.mkfifo(directory / "record.json")
    assert store.find(toy_run().run_id) is None
    assert store.records() == []
    assert [reason for _, reason in store.skipped] == ["expected a file"]


def test_exports_are_read_packed_and_with_byte_order_marks(tmp_path):
    line = json.dumps(published())
    contents = {
        "bom.jsonl": b"\xef\xbb\xbf" + line.encode(),
        "wide.jsonl": line.encode("utf-16"),
        "packed.jsonl.gz": gzip.compress(line.encode()),
        "unnamed.jsonl": gzip.compress(line.encode()),
        "windows.jsonl": f"{line}\r\n".encode(),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        table, skipped = load(tmp_path / name)
        assert (len(table), skipped) == (1, []), name
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(line.encode())[:-20])
    with pytest.raises(UserError, match="cannot be read"):
        load(tmp_path / "cut.jsonl.gz")


def test_runs_of_edited_code_never_share_a_point():
    from recall_bench.frontier import points
    from recall_bench.store.table import frame

    records = []
    for seed, digest in enumerate(["a" * 16, "b" * 16, None]):
        record = toy_record(toy_run(seed), accuracy=seed / 2)
        name = run_name(record.config, record.versions, digest)
        records.append(record.model_copy(update={"run_id": name, "plugin_digest": digest}))
    table = points(frame([parse(stored(record).text).record for record in records]))
    assert table["seeds"].tolist() == [1, 1, 1]
    assert {knobs.get("code") for knobs in table["knobs"]} == {"a" * 16, "b" * 16, None}


def test_markup_formulas_and_zero_bytes_are_drawn_as_they_are(tmp_path):
    from synthetic_runs import run, table

    from recall_bench.reports.frontier_figure import plot_frontier

    runs = table(
        run("$x^$", 0.5, state_bytes=0, d_model="$\\frac$"),
        run("$x^$", 0.6, state_bytes=10, d_model="[/x]"),
        run("[red]b[/]", 0.7, state_bytes=1000, d_model=4),
    )
    figure = plot_frontier(runs, annotate=True, title="$^$", path=tmp_path / "frontier.svg")
    shown = {text.get_text() for legend in figure.legends for text in legend.get_texts()}
    assert any("$x^$" in text for text in shown)
    assert "[red]b[/]" in (tmp_path / "frontier.svg").read_text()
    assert 1.0 in {x for line in figure.axes[0].lines for x in line.get_xdata()}
