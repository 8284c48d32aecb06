import sys

import pytest
from document_data import page
from hypothesis import given, settings
from hypothesis import strategies as st

from recall_bench.documents.html import decode, to_text
from recall_bench.errors import UserError


def test_a_page_becomes_one_line_a_block() -> None:
    html = (
        "<html><head><title>A  book</title></head><body><div>By <b>Ann</b>\n <i>Lee</i></div>"
        "<table><tr><td>ISBN</td><td>12</td></tr></table>one<br>two<p>three</body></html>"
    )
    assert to_text(html) == "A book\nBy Ann Lee\nISBN\n12\none\ntwo\nthree"


def test_what_a_reader_does_not_see_is_left_out() -> None:
    html = (
        "<body>seen<script>var a = 'hidden'</script><style>p {}</style><!-- hidden -->"
        "<noscript>hidden</noscript><select><option>hidden</select>, soft\u00adhyphen\u200b</body>"
    )
    assert to_text(html) == "seen, softhyphen"


def test_entities_and_odd_spaces_become_characters() -> None:
    assert to_text("<p>Simon &amp;&nbsp; Schuster&#39;s &eacute;</p>") == "Simon & Schuster's é"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>one<p>two</b></i></p>", "one\ntwo"),
        ("<div><table><td>one<td>two", "one\ntwo"),
        ("no mark-up at all", "no mark-up at all"),
        ("<p unclosed='one", ""),
        ("<<<>>>", "<<<>>>"),
        ("", ""),
    ],
)
def test_broken_pages_are_read_as_a_browser_does(html: str, text: str) -> None:
    assert to_text(html) == text


@pytest.mark.parametrize(
    ("raw", "text", "warned"),
    [
        ("é".encode(), "é", False),
        ("\ufeffé".encode(), "é", False),
        ("é".encode("utf-16"), "é", False),
        ('<meta charset="iso-8859-1">é'.encode("latin-1"), '<meta charset="iso-8859-1">é', False),
        ("<meta charset=koi8-r>д".encode("koi8-r"), "<meta charset=koi8-r>д", False),
        ('<meta charset="latin1">é'.encode(), '<meta charset="latin1">é', False),
        ("€".encode("cp1252"), "€", True),
        ("<meta charset=utf-8>é".encode("cp1252"), "<meta charset=utf-8>é", True),
        ("<meta charset=nonsense>é".encode("cp1252"), "<meta charset=nonsense>é", True),
        (b"<meta charset=utf-16>\xe9", "<meta charset=utf-16>é", True),
        (b"<meta charset=hex>\xe9", "<meta charset=hex>é", True),
        (b"<meta charset=undefined>\xe9", "<meta charset=undefined>é", True),
        (b"\xef\xbb\xbfa\xff", "a\ufffd", True),
    ],
)
def test_an_encoding_is_found_out_and_doubts_are_told(raw: bytes, text: str, warned: bool) -> None:
    found, warning = decode(raw)
    assert (found, warning is not None) == (text, warned)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(raw=st.binary(max_size=60), at=st.integers(0, 200), more=st.binary(max_size=4))
def test_no_bytes_and_no_damage_stop_a_page_from_being_read(
    raw: bytes, at: int, more: bytes
) -> None:
    whole = page("Title", "Maker", "$1").encode()
    for damaged in (raw, whole[:at] + more + whole[at + 3 :], whole[:at] + raw):
        text = to_text(decode(damaged)[0])
        assert text == "\n".join(" ".join(line.split()) for line in text.split("\n") if line)


def test_without_selectolax_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "selectolax.lexbor", None)
    with pytest.raises(UserError, match=r"recall-bench\[documents\]"):
        to_text("<p>")
