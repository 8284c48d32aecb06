import json
import shutil
from pathlib import Path

import pytest
from command_line import SMOKE, Command
from document_data import write_swde


def test_a_task_without_its_data_cannot_be_checked(recall_bench: Command) -> None:
    recall_bench("check", "swde").refused("swde reads documents. Expected --data PATH")


@pytest.mark.parametrize("verb", ["show", "sweep"])
def test_data_that_are_not_there_or_not_laid_out_as_expected_are_refused(
    recall_bench: Command, tmp_path: Path, verb: str
) -> None:
    words = ("show", "swde") if verb == "show" else ("sweep", "--task", "swde", "--arch", "based")
    recall_bench(*words).refused("swde reads documents. Expected --data PATH")
    recall_bench(*words, "--data", "nowhere").refused("there is no", "nowhere")
    recall_bench(*words, "--data", tmp_path).refused("no pages", "VERTICAL/SITE(NNN)/NNNN.htm")


def test_a_sweep_tells_what_it_found_and_its_records_are_read_without_the_data(
    recall_bench: Command, tmp_path: Path
) -> None:
    site = write_swde(tmp_path / "swde", pages=20)
    (site / "shop" / "shop-acme(20)" / "0000.htm").write_text("")
    words = ("sweep", "--task", "swde", "--arch", "based", "--d-model", 8, *SMOKE)
    words = (*words, "--data", site, "--length", 64, "--tokenizer", "bytes", "--device", "cpu")
    outcome = recall_bench(*words, "--window", 8, "--feature-dim", 4)
    outcome.succeeded("swde: 2 sites, 40 pages", "swde: empty page: 1 (shop-acme(20)/0000.htm)")
    (file,) = (tmp_path / "runs").rglob("record.json")
    record = json.loads(file.read_text())
    assert str(site) not in file.read_text()
    assert record["data"]["warnings"] == {"empty page": 1}
    assert record["data"]["names"]["key"] == ["maker", "price", "title"]
    assert [part["options"] for part in record["generation"]] == [{"held_out": 0}, {"held_out": 1}]
    shutil.rmtree(site)
    recall_bench("report").succeeded("based")


def test_text_is_shown_as_text(recall_bench: Command, tmp_path: Path) -> None:
    site = write_swde(tmp_path / "swde", pages=20)
    words = ("show", "swde", "--data", site, "--length", 256, "--tokenizer", "bytes")
    recall_bench(*words).succeeded("2 sites, 40 pages", "Made by Maker", "answer ")
    recall_bench("show", "documents").succeeded("answer ")
