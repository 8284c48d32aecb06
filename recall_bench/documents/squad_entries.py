"""Reads values of a JSON file that may be of any type, and lists what SQuAD calls an answer."""

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

REPLACED = "characters that are not Unicode, replaced"


def text_of(value: Any) -> str:
    """A string without lone surrogates, which no encoding takes; other values give ""."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def items_of(value: Any) -> list[Any]:
    """The items of a list; nothing else has any."""
    return value if isinstance(value, list) else []


def answers_of(value: Any) -> Iterator[tuple[str, int]]:
    """The text and start of every usable answer; the start is -1 where the file gives none.

    Reads SQuAD's list of objects, one such object, and the hub's object of two lists.
    """
    if isinstance(value, dict) and isinstance(value.get("text"), list):
        pairs = zip_longest(value["text"], items_of(value.get("answer_start")))
        value = [{"text": text, "answer_start": start} for text, start in pairs]
    for answer in [value] if isinstance(value, dict) else items_of(value):
        if isinstance(answer, dict) and text_of(answer.get("text")).strip():
            start = answer.get("answer_start")
            if not isinstance(start, int) or isinstance(start, bool):
                start = -1
            yield text_of(answer["text"]), start


def paragraph_of(row: Any) -> dict[str, Any] | None:
    """A row of the hub's SQuAD (context, question, answers) as a paragraph of one question.

    Also reads the row inside the hub's ``{"row": …}``; None for any other row.
    """
    if not isinstance(row, dict) or not isinstance(row.get("context"), str) or row.get("value"):
        return None
    if "qas" in row:
        return row
    return {"context": row["context"], "qas": [row]} if "answers" in row else None
