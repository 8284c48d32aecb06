"""Find a value in a text, whatever its white space, quotes and dashes, and if need be its case.

Every substitution keeps the number of characters, so that a place found in the folded text is the
place in the text itself.
"""

import html
import re
from functools import lru_cache

from recall_bench.documents.corpus import Range

ALIKE = {
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032`\u00b4", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033", '"'),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
    **dict.fromkeys("\u00a0\u2002\u2003\u2009\u202f", " "),
}
"""Characters, and the one that each counts as."""

MOST = 64
"""Places that are kept of a value; a stray single letter can have hundreds."""

_ALIKE = re.compile(f"[{''.join(ALIKE)}]")


@lru_cache(maxsize=8)  # several values are looked for in one page after the other
def fold(text: str) -> str:
    """The text with every character replaced by the one that it counts as."""
    return _ALIKE.sub(lambda match: ALIKE[match.group()], text)


def tidy(value: str) -> str:
    """A value of the ground truth without the mark-up and punctuation around it.

    Entities are decoded (twice: ground truth was written from escaped text), white space is
    collapsed, and colons at the ends, left over from "Publisher: X" cut at the wrong place, go.
    """
    return " ".join(html.unescape(html.unescape(value)).split()).strip(": ")


def ranges_of(value: str, text: str) -> tuple[Range, ...]:
    """The places of a `tidy` value in a text as whole words: (start, stop) in characters.

    Case is ignored only where nothing matches with it.
    """
    words = fold(value).split()
    if not words:
        return ()
    folded = fold(text)
    pattern = r"\s+".join(map(re.escape, words))
    # A word's own end is a boundary; a value that ends in punctuation needs none.
    before = r"(?<!\w)" if words[0][0].isalnum() else ""
    after = r"(?!\w)" if words[-1][-1].isalnum() else ""
    for flags in (0, re.IGNORECASE):
        matches = re.finditer(f"{before}{pattern}{after}", folded, flags)
        places = tuple(match.span() for match, _ in zip(matches, range(MOST), strict=False))
        if places:
            return places
    return ()
