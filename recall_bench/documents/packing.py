"""Rows of a fixed length: prompts cut to size around their answer, and windows of running text.

Shapes: L length, N windows.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from recall_bench.documents.corpus import Range

Tokens: TypeAlias = NDArray[np.int32]
TokenList: TypeAlias = Sequence[int] | Tokens

Truncation: TypeAlias = Literal["centred", "random"]
"""The position of the answer in the kept part of a document that is too long."""


def window(size: int, room: int, answer: Range, share: float) -> Range:
    """The (start, stop) of ``room`` of ``size`` tokens that include the answer.

    ``share`` of the other tokens come before the answer: 0.5 puts it in the middle. The window has
    ``room`` tokens at the ends of the document too. Raises `ValueError` if the answer alone is
    longer.
    """
    first, after = answer
    spare = room - (after - first)
    if spare < 0:
        raise ValueError(
            f"the answer does not fit. Expected at most {room} tokens, got {after - first}"
        )
    if size <= room:
        return 0, size
    start = min(max(first - int(share * spare), 0), size - room)
    return start, start + room


def prompt_row(
    document: TokenList, ending: TokenList, answer: TokenList, length: int, pad: int
) -> tuple[Tokens, int]:
    """Padding, document, ending and answer, of ``length`` + 1 tokens, and where the answer begins.

    The first ``length`` tokens are inputs, the last ``length`` the next tokens. The padding comes
    first, so that every row ends with its answer.
    """
    used = len(document) + len(ending) + len(answer)
    assert used <= length + 1, f"{used} tokens do not fit {length} + 1"
    row = np.full(length + 1, pad, np.int32)
    position = length + 1 - used
    for part in (document, ending, answer):
        row[position : position + len(part)] = part
        position += len(part)
    return row, length + 1 - len(answer)


def windows(tokens: Tokens, length: int) -> Tokens:
    """Running text as (N, L + 1) windows, each beginning with the last token of the one before.

    The first L of a window are inputs, the last L the next tokens, so that every token but the
    first is predicted exactly once; fewer than L tokens at the end are left out.
    """
    count = max(len(tokens) - 1, 0) // length
    starts = np.arange(count)[:, None] * length
    return tokens[starts + np.arange(length + 1)]


def repeated(rows: Tokens) -> NDArray[np.bool_]:
    """Marks the tokens that complete a bigram seen earlier in their row: (N, L + 1) -> (N, L).

    Entry t says whether (row[t], row[t + 1]) occurred before within the row.
    """
    bigrams = bigram_codes(rows)  # (N, L)
    order = bigrams.argsort(axis=1, kind="stable")
    ordered = np.take_along_axis(bigrams, order, 1)
    again = np.zeros(bigrams.shape, bool)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    result = np.empty_like(again)
    np.put_along_axis(result, order, again, 1)
    return result


def bigram_codes(rows: Tokens) -> NDArray[np.int64]:
    """A number for every two tokens that follow each other: (…, L + 1) -> (…, L)."""
    return rows[..., :-1].astype(np.int64) << 32 | rows[..., 1:].astype(np.int64)


def bigram_counts(rows: Tokens, training: Tokens) -> NDArray[np.int64]:
    """Occurrences of each bigram of the rows in the training text: (N, L + 1) -> (N, L)."""
    known, counts = np.unique(bigram_codes(training), return_counts=True)
    if not len(known):
        return np.zeros(bigram_codes(rows).shape, np.int64)
    wanted = bigram_codes(rows)
    position = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[position] == wanted, counts[position], 0)
