"""The evaluation path on real pages and paragraphs, brought into the official layout."""

import json
import os
import tarfile
from itertools import islice
from pathlib import Path

import pytest
from official_data import write_rows
from tiny_models import save_tiny_model

from recall_bench.documents import squad, swde
from recall_bench.documents.corpus import Corpus
from recall_bench.evals.harness.evaluate import EXAMPLES, Request, evaluate
from recall_bench.store.runs import ResultStore

pytest.importorskip("lm_eval", reason="needs the extra recall-bench[eval]")

SITE = "testset/book/book-christianbook-2000"
PAGES = 2


def shared(name: str) -> Path:
    """A file of the shared data; skips where there are none."""
    where = os.environ.get("RECALL_BENCH_DATA")
    if not where:
        pytest.skip("needs RECALL_BENCH_DATA, the directory of the shared data")
    file = Path(where) / name
    if not file.exists():
        pytest.skip(f"{where} has no {name}")
    return file


def official(corpus: Corpus, count: int) -> list[dict[str, str]]:
    """The first questions of a corpus as rows of the hub's data sets."""
    return [
        {
            "doc_id": corpus.documents[question.document].name,
            "text": corpus.documents[question.document].text + question.ending,
            "context": corpus.documents[question.document].text,
            "question": question.key,
            "key": question.key,
            "value": question.answer,
        }
        for question in corpus.questions[:count]
    ]


def swde_pages(target: Path) -> Path:
    """A few pages of one site, with the site's ground truth."""
    with tarfile.open(shared("swde-books.tar.xz")) as archive:
        pages = islice((m for m in archive if m.name.startswith(f"{SITE}/")), PAGES)
        truth = (m for m in archive if "groundtruth/book/book-christianbook" in m.name)
        for member in [*pages, *truth]:
            archive.extract(member, target, filter="data")
    return target


@pytest.mark.parametrize("task", ["squad_completion", "swde"])
def test_a_real_model_is_evaluated_on_real_documents(task: str, tmp_path: Path) -> None:
    if task == "swde":
        rows = official(swde.load(swde_pages(tmp_path / "swde")), 6)
    else:
        rows = official(squad.load(shared("xquad.en.json")), 6)
    assert len(rows) == 6
    assert all(row["value"] in row["text"] for row in rows)
    write_rows(tmp_path / "data" / f"{task}.jsonl", rows)
    model = save_tiny_model("llama", tmp_path / "llama")
    store = ResultStore(tmp_path / "runs")
    request = Request(
        model=model, tasks=[task], data=tmp_path / "data", device="cpu", context_length=400
    )
    (record,) = evaluate(request, store)
    lines = (store.directory(record.run_id) / EXAMPLES).read_text().splitlines()
    seen = [json.loads(line) for line in lines]
    assert record.test_accuracy == sum(line["contains"] for line in seen) / 6
    for line, row in zip(seen, rows, strict=True):
        assert line["target"] == row["value"].strip()
        ending = (
            f"{row['key'][:1].upper()}{row['key'][1:]}:" if task == "swde" else row["text"][-20:]
        )
        assert line["prompt"].endswith(ending)
        assert 100 < line["prompt_tokens"] <= 700
