"""Web pages to text: the visible text, one line per block, with white space collapsed.

The parser is lexbor, which follows HTML5's rules for broken pages, by way of selectolax.
"""

import codecs
import re
from typing import Any

from recall_bench.errors import UserError

UNSEEN = (  # noqa: SIM905 - more readable than a list
    "script style noscript template iframe object svg math canvas audio video map "
    "img input select textarea link meta wbr"
).split()
"""Elements whose content is not text that a reader sees; their tags do not break a line."""

INLINE = (  # noqa: SIM905
    "a abbr acronym b bdi bdo big blink cite code data del dfn em font i ins kbd label mark nobr "
    "output q rp rt ruby s samp small span strike strong sub sup time tt u var"
).split()
"""Elements that do not break a line; every other one does."""

INVISIBLE = re.compile("[\u00ad\u200b\u200c\u200d\u2060\ufeff\0]")
"""Soft hyphens, characters without width, and NUL."""

WINDOWS = "windows-1252"
"""The encoding of last resort: it has a character for nearly every byte."""

_BREAK = "\x1e"  # the record separator, which no page contains for a purpose
_DECLARED = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([-\w:.]{1,40})""", re.I)
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def decode(raw: bytes) -> tuple[str, str | None]:
    """The characters of a page, and a warning if its encoding is not the declared one or UTF-8.

    A byte-order mark decides; then UTF-8, which text in another encoding practically never is by
    accident; then what the page declares; then windows-1252.
    """
    mark, encoding = next((pair for pair in _MARKS if raw.startswith(pair[0])), (b"", "utf-8"))
    raw = raw.removeprefix(mark)
    try:
        return raw.decode(encoding), None
    except UnicodeDecodeError:
        if mark:
            return raw.decode(encoding, "replace"), f"bytes that are no {encoding} were replaced"
    declared = _DECLARED.search(raw[:8192])
    if declared is None:
        return raw.decode(WINDOWS, "replace"), f"no encoding, read as {WINDOWS}"
    name = declared.group(1).decode("ascii", "replace").lower()
    try:
        codec = codecs.lookup(name).name
        if codec.startswith("utf"):
            return raw.decode(WINDOWS, "replace"), f"is not in Unicode, read as {WINDOWS}"
        # Browsers read Latin-1 as the larger windows-1252.
        return raw.decode(WINDOWS if codec == "iso8859-1" else codec, "replace"), None
    except (LookupError, UnicodeError):
        return raw.decode(WINDOWS, "replace"), f"unknown encoding, read as {WINDOWS}"


def to_text(html: str) -> str:
    """The text of a page, the title first: one line per block, with white space collapsed.

    Raises `UserError` if selectolax is not installed.
    """
    tree = _parser()(html)
    tree.strip_tags(UNSEEN, recursive=True)
    for node in list(tree.root.traverse(include_text=True)) if tree.root else ():
        if node.is_comment_node:  # it would break its line
            node.remove()
    tree.unwrap_tags(INLINE)
    tree.merge_text_nodes()
    root = tree.root
    content = root.text(deep=True, separator=_BREAK) if root is not None else ""
    return clean(content)


def clean(content: str) -> str:
    """Collapse white space in every line; lines end at the separator. Empty lines go."""
    lines = (" ".join(line.split()) for line in INVISIBLE.sub("", content).split(_BREAK))
    return "\n".join(line for line in lines if line)


def _parser() -> Any:
    try:
        from selectolax.lexbor import LexborHTMLParser
    except ImportError as error:
        raise UserError(
            "Reading HTML needs selectolax. Install it with: pip install 'recall-bench[documents]'"
        ) from error
    return LexborHTMLParser
