"""Odd values, odd bytes, and JSON with one of them somewhere."""

import copy
import gzip
import json
from random import Random
from typing import Any

VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    10**30,
    1e308,
    float("nan"),
    float("inf"),
    "",
    " ",
    "x" * 3000,
    "../../evil",
    "/etc/passwd",
    "a/b",
    "[red]x[/red]",
    "[/]",
    "$x^{2$",
    "\\frac",
    "a\x00b",
    "\x1b[31m",
    "\ud800",
    "a\u2028b",
    "٣",
    [],
    {},
    [[]],
    {"": None},
    [None, "x", 1],
]
WORDS = [str(value) for value in VALUES if isinstance(value, str | int | float)] + [
    "none",
    "true",
    "1,2",
    "0,0",
    ",",
    "1e400",
    "9" * 30,
    "9" * 5000,
    "=",
    "--",
    "-1",
    "mqar",
    "based",
    "cuda:99",
    "mps",
    "self*3",
    "(self",
    "based{feature_dim=4}",
]


def value(draw: Random) -> Any:
    return copy.deepcopy(draw.choice(VALUES))


def spoiled(draw: Random, content: Any) -> Any:
    """A copy of JSON content in which one value is replaced, removed or repeated."""
    content = copy.deepcopy(content)
    parents: list[tuple[Any, Any]] = []

    def visit(node: Any) -> None:
        items = node.items() if isinstance(node, dict) else enumerate(node)
        for key, child in items:
            parents.append((node, key))
            if isinstance(child, dict | list):
                visit(child)

    visit(content)
    parent, key = draw.choice(parents)
    match draw.randrange(4):
        case 0 if isinstance(parent, dict):
            del parent[key]
        case 1 if isinstance(parent, list):
            parent.insert(key, copy.deepcopy(parent[key]))
        case 2 if isinstance(parent, dict):
            parent[str(value(draw))] = value(draw)
        case _:
            parent[key] = value(draw)
    return content


def text_of(content: Any) -> bytes:
    return json.dumps(content).encode()


def damaged(draw: Random, raw: bytes) -> bytes:
    """Bytes as a full disk, another program or another system leaves them."""
    at = draw.randrange(len(raw) + 1)
    match draw.randrange(7):
        case 0:
            return raw[:at]
        case 1:
            return b"\xef\xbb\xbf" + raw
        case 2:
            return gzip.compress(raw, mtime=0)
        case 3:
            return raw[:at] + bytes([draw.randrange(256)]) + raw[at + 1 :]
        case 4:
            return raw.replace(b"\n", b"\r\n")
        case 5:
            return b"[" * 100_000
        case _:
            return raw.decode("utf-8", "replace").encode("utf-16")
