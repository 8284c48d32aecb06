"""Small data sets with the columns of the official ones."""

import json
from pathlib import Path
from typing import Any

Rows = list[dict[str, str]]


def pages(count: int = 8) -> Rows:
    """Rows as in based-swde-v2 and based-fda: a page that ends with the key and a colon."""
    rows = []
    for number in range(count):
        director, year = f"Jane Roe {number}", str(1950 + 7 * number)
        text = (
            f"  The film of page {number}. Director: {director}. It came out in {year}, "
            f"in a town of {number * 31} people. director: "
        )
        rows.append(
            {
                "doc_id": f"page/{number}",
                "file_name": f"{number}.htm",
                "key": "director",
                "value": f" {director} ",
                "text": text,
            }
        )
    return rows


def passages(count: int = 8) -> Rows:
    """Rows as in based-squad: a passage, and a sentence that breaks off before the answer."""
    rows = []
    for number in range(count):
        context = f"Town {number} lies in the north. It has {number * 31 + 5} people."
        rows.append(
            {
                "doc_id": str(number),
                "title": "Towns",
                "context": context,
                "question": f"How many people has town {number}?",
                "value": f"{number * 31 + 5} people",
                "text": f"{context} The people of town {number} number ",
            }
        )
    return rows


def write_rows(file: Path, rows: list[dict[str, Any]]) -> Path:
    """A row a line."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file
