"""The split of a document, by a hash of its name."""

import hashlib
from typing import Literal, TypeAlias

Part: TypeAlias = Literal["train", "validation", "test"]


def part_of(name: str, split_seed: int, share: float) -> Part:
    """The split of a document: ``share`` of all test, as many validate, the others train.

    It depends on the name and the seed alone, so that adding documents moves no other.
    """
    digest = hashlib.sha256(f"{split_seed}/{name}".encode()).digest()
    where = int.from_bytes(digest[:8], "big") / 2**64
    if where < share:
        return "test"
    return "validation" if where < 2 * share else "train"
