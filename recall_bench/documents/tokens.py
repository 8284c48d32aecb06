"""Text to tokens and back: bytes, or byte-pair encoding by the ``tokenizers`` library."""

import bisect
import itertools
import json
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from importlib.metadata import version
from typing import Any, Literal, Protocol, TypeAlias

from recall_bench.documents.cache import cached
from recall_bench.documents.corpus import Range
from recall_bench.errors import UserError

Tokenizer: TypeAlias = Literal["bpe", "bytes"]

LONGEST = 4096
"""Characters of one kind in a row that BPE training takes as one word."""
_RUN = re.compile(rf"[^\W\d_]{{1,{LONGEST}}}|\s{{1,{LONGEST}}}|(?:[^\w\s]|_){{1,{LONGEST}}}")

TRAINER = 1
"""Increase it when the same text gives another vocabulary."""


class Codec(Protocol):
    """Text to tokens and back; ``pad`` fills rows, ``stops`` are the tokens that end a line."""

    @property
    def pad(self) -> int: ...

    @property
    def stops(self) -> Collection[int]: ...

    def encode(self, text: str) -> list[int]:
        """The tokens of a text."""
        ...

    def encode_with(self, text: str, ranges: Sequence[Range]) -> tuple[list[int], list[Range]]:
        """The tokens of a text, and the token range (first, after) of each character range."""
        ...

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of tokens; padding is omitted, incomplete characters are replaced."""
        ...

    def serialise(self) -> str:
        """Everything that `restore_codec` needs."""
        ...


class Bytes:
    """UTF-8 bytes; token 256 is padding. Needs nothing installed."""

    size = 257
    pad = 256
    stops = frozenset({ord("\n")})

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def encode_with(self, text: str, ranges: Sequence[Range]) -> tuple[list[int], list[Range]]:
        if text.isascii():
            return self.encode(text), list(ranges)
        position = list(itertools.accumulate((len(c.encode()) for c in text), initial=0))
        return self.encode(text), [(position[start], position[stop]) for start, stop in ranges]

    def decode(self, tokens: Iterable[int]) -> str:
        return bytes(token for token in tokens if token < 256).decode("utf-8", "replace")

    def serialise(self) -> str:
        return "bytes"


class BytePairs:
    """Byte-level BPE as in GPT-2, with every digit a token of its own; token 0 is padding.

    Digits on their own make a number the same tokens wherever it stands.
    """

    pad = 0

    def __init__(self, serialised: str):
        self._tokenizer = _library().Tokenizer.from_str(serialised)
        size = self._tokenizer.get_vocab_size()
        self.stops = frozenset(
            token for token in range(1, size) if "\n" in self._tokenizer.decode([token])
        )

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids

    def encode_with(self, text: str, ranges: Sequence[Range]) -> tuple[list[int], list[Range]]:
        encoding = self._tokenizer.encode(text)
        starts, stops = zip(*encoding.offsets, strict=True) if encoding.offsets else ((), ())
        return encoding.ids, [
            (bisect.bisect_right(stops, start), bisect.bisect_left(starts, stop))
            for start, stop in ranges
        ]

    def decode(self, tokens: Iterable[int]) -> str:
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text

    def serialise(self) -> str:
        text: str = self._tokenizer.to_str()
        return text


def codec_size(tokenizer: Tokenizer, vocab_size: int) -> int:
    """The number of tokens of a codec; byte pairs of little text may use fewer."""
    return Bytes.size if tokenizer == "bytes" else vocab_size


def make_codec(
    tokenizer: Tokenizer, vocab_size: int, key: str, texts: Iterable[str]
) -> tuple[Codec, str]:
    """A codec and the name of its content; BPE is trained on ``texts``, which ``key`` identifies.

    ``texts`` is read only if the cache has no vocabulary for the key. Raises `UserError` where
    ``tokenizers`` is not installed.
    """
    if tokenizer == "bytes":
        return Bytes(), "bytes"
    name = f"bpe {TRAINER} {vocab_size} {version_of_library()} {key}"
    serialised = cached("tokenizers", name, ".json", lambda: _train(vocab_size, texts)).decode()
    return _byte_pairs(serialised), name


def restore_codec(serialised: str) -> Codec:
    """The inverse of `Codec.serialise`."""
    return Bytes() if serialised == "bytes" else _byte_pairs(serialised)


@lru_cache(maxsize=8)
def _byte_pairs(serialised: str) -> BytePairs:
    return BytePairs(serialised)


def _train(vocab_size: int, texts: Iterable[str]) -> bytes:
    library = _library()
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = library.pre_tokenizers.Sequence(
        [
            library.pre_tokenizers.Digits(individual_digits=True),
            library.pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<pad>"],
        initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=sys.stderr.isatty(),
    )
    tokenizer.train_from_iterator((piece for text in texts for piece in pieces(text)), trainer)
    # Parsed and written again, so that the bytes do not depend on the library's formatting.
    return json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False).encode()


def pieces(text: str) -> Iterator[str]:
    """The text in pieces, cut only where letters, blanks or marks run longer than `LONGEST`.

    The trainer's time grows with the square of the length of such a run, which it takes as one
    word; shorter runs give the same vocabulary as the whole text.
    """
    start = 0
    for run in _RUN.finditer(text) if len(text) >= LONGEST else ():
        if run.end() - run.start() == LONGEST:
            yield text[start : run.end()]
            start = run.end()
    yield text[start:]


def version_of_library() -> str:
    """The version of ``tokenizers``, on which a vocabulary may depend."""
    _library()
    return version("tokenizers")


def _library() -> Any:
    try:
        import tokenizers
        import tokenizers.decoders
        import tokenizers.models
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    except ImportError as error:
        raise UserError(
            "Byte-pair encoding needs the tokenizers library. Install it with: "
            "pip install 'recall-bench[documents]', or use --tokenizer bytes"
        ) from error
    return tokenizers
