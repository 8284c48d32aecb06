import json
from pathlib import Path

import pandas as pd
import pytest
from official_data import pages, write_rows

from recall_bench.errors import UserError
from recall_bench.evals.harness import extra
from recall_bench.evals.harness.data import documents_hash, hub_documents, local_documents

datasets = pytest.importorskip("datasets", reason="needs the extra recall-bench[eval]")
huggingface_hub = pytest.importorskip("huggingface_hub")

NAME = "hazyresearch/based-swde-v2"
COLUMNS = ("text", "value", "key")


def load(where: Path) -> list[dict]:
    return list(local_documents("swde", NAME, COLUMNS, where))


@pytest.mark.parametrize(
    "place",
    [
        "swde.jsonl",
        "based-swde-v2.jsonl",
        "based-swde-v2/validation.jsonl",
        "hazyresearch/based-swde-v2/data/validation-00000-of-00001.jsonl",
    ],
)
def test_a_local_copy_is_found_where_people_put_it(place: str, tmp_path: Path) -> None:
    write_rows(tmp_path / place, pages())
    assert load(tmp_path) == pages()


def test_json_lines_json_and_parquet_give_the_same_documents(tmp_path: Path) -> None:
    write_rows(tmp_path / "a" / "swde.jsonl", pages())
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "swde.json").write_text(json.dumps(pages()))
    (tmp_path / "c" / "swde" / "data").mkdir(parents=True)
    table = pd.DataFrame(pages())
    for part in (0, 1):  # a data set may come in several files
        table.iloc[4 * part : 4 * part + 4].to_parquet(
            tmp_path / "c" / "swde" / "data" / f"validation-0000{part}-of-00002.parquet"
        )
    assert load(tmp_path / "a") == load(tmp_path / "b") == load(tmp_path / "c") == pages()


def test_lines_may_hold_any_character_of_text(tmp_path: Path) -> None:
    rows = [row | {"text": f"\u2028 {row['text']} \x85 ∞"} for row in pages()]
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "swde.jsonl").write_text(f"\ufeff{text}\n\n", "utf-8")
    assert load(tmp_path) == rows


def test_the_hash_is_of_what_is_read_in_its_order() -> None:
    rows = pages()
    assert documents_hash(rows) == documents_hash([row | {"file_name": "other"} for row in rows])
    assert documents_hash(rows) != documents_hash(rows[::-1])
    assert documents_hash(rows) != documents_hash([{**rows[0], "value": "x"}, *rows[1:]])


def test_missing_documents_are_named_with_the_places_looked_at(tmp_path: Path) -> None:
    write_rows(tmp_path / "fda.jsonl", pages())
    with pytest.raises(UserError) as error:
        load(tmp_path)
    for said in ("swde", NAME, "swde.jsonl", "validation-*.parquet", "text, value, key"):
        assert said in str(error.value)
    with pytest.raises(UserError, match="is not a directory"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"text": "a", "value": "b"}\n', "row 1 lacks text in the column key.*got text, value"),
        ('{"text": "a", "value": 3, "key": "k"}\n', "lacks text in the column value"),
        ("no json\n", "is not a jsonl file"),
        ("[1, 2]\n", "expected one object per document"),
        ("\n", "holds no documents"),
    ],
)
def test_a_broken_file_is_refused_with_what_is_wrong(
    content: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "swde.jsonl").write_text(content)
    with pytest.raises(UserError, match=said):
        load(tmp_path)


def test_a_broken_parquet_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "swde.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match="is not a parquet file"):
        load(tmp_path)


def test_a_data_set_that_is_not_to_be_had_says_how_to_use_a_local_copy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unreachable(path: str, name: str) -> None:
        raise ConnectionError(f"Couldn't reach '{path}' on the Hub")

    monkeypatch.setattr("datasets.load_dataset", unreachable)
    with pytest.raises(UserError) as error:
        hub_documents("swde", NAME, "default")
    for said in (NAME, "--data DIR", str(datasets.config.HF_DATASETS_CACHE), "Couldn't reach"):
        assert said in str(error.value)


def test_without_a_hub_its_clients_are_told_to_stay_offline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_ENDPOINT", "https://127.0.0.1:9")
    assert not extra.go_offline_without_a_hub()
    assert extra.os.environ["HF_HUB_OFFLINE"] == "1"
    assert datasets.config.HF_HUB_OFFLINE
    assert huggingface_hub.is_offline_mode()
    assert not extra.go_offline_without_a_hub()  # and they stay so

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert extra.go_offline_without_a_hub()
    assert extra.os.environ["HF_HUB_OFFLINE"] == "0"


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    found = extra.importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "lm_eval" else found(name)
    )
    with pytest.raises(UserError, match=r'lm_eval.*pip install "recall-bench\[eval\]"'):
        extra.require()
