import os
import shutil
from pathlib import Path

import pytest
from document_data import write_swde

from recall_bench.documents import cache, swde
from recall_bench.documents.source import fingerprint, resolve, whereabouts
from recall_bench.errors import UserError
from recall_bench.store.files import StoreError


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    return write_swde(tmp_path / "one" / "swde", pages=3)


def test_equal_files_in_two_places_have_one_fingerprint(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "two"
    shutil.copytree(root, copy)
    found = resolve(str(root), swde.find)
    assert found.startswith("content:")
    assert resolve(str(copy), swde.find) == found == resolve(found, swde.find)
    assert whereabouts(found, swde.find) == copy, "where it was seen last"


def test_a_changed_file_changes_the_fingerprint_even_at_the_same_size(root: Path) -> None:
    before = fingerprint(swde.find(root))
    file = next(root.rglob("0000.htm"))
    file.write_text(file.read_text().replace("Cart", "Card"))
    os.utime(file, ns=(1, 1))
    assert fingerprint(swde.find(root)) != before


def test_contents_are_read_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(swde.find(root))
    files = swde.find(root)
    monkeypatch.setattr("recall_bench.documents.source._hash", None)
    assert fingerprint(files) == before


def test_data_that_are_gone_or_changed_are_named_with_their_last_place(root: Path) -> None:
    found = resolve(str(root), swde.find)
    next(root.rglob("0000.htm")).write_text("changed")
    with pytest.raises(UserError, match=f"last seen at {root}.*Expected --data PATH"):
        whereabouts(found, swde.find)
    with pytest.raises(UserError, match=r"not known on this machine\. Expected"):
        whereabouts("content:0123456789abcdef", swde.find)


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no .*nowhere"):
        resolve(str(tmp_path / "nowhere"), swde.find)


def test_a_cache_that_cannot_be_written_is_explained(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "file"))
    with pytest.raises(StoreError, match=r"Cannot write .*Expected a directory"):
        resolve(str(root), swde.find)


def test_the_cache_lies_where_the_system_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(cache.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache.cache_directory() == Path("/somewhere/recall-bench")
