"""The published truncation and the twice-prompt of "Just read twice" (JRT, arXiv 2407.05483).

The harness itself shows every document whole and once. JRT's fork of it (the repository
HazyResearch/prefix-linear-attention, `Task.truncate_context` and the tasks ``based_*`` and
``based_*_twice``) cuts documents to 1,000 tokens (Table 1), or 512, 1,024 and 2,048 (Table 2), 50
of them reserved for the answer, and may show them twice. We differ from it in two points: the
question is never cut off, and examples with short answers are kept.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Document = Mapping[str, Any]
Prompt = Callable[[Document], str]

ANSWER_TOKENS = 50
"""Tokens that JRT reserves for the answer."""
SENTENCE_END = re.compile(r"[.!?][\"')\]]*\s+(?=\W*[A-Z0-9])|\n+")
SUMMARY = "Summary of information above..."
"""Text between page and question in SWDE; JRT's prompts omit it."""


class Tokenizer(Protocol):
    """The methods of a harness model that truncation needs."""

    def tok_encode(self, string: str, add_special_tokens: bool | None = None) -> list[int]: ...
    def tok_decode(self, tokens: list[int]) -> str: ...


@dataclass(frozen=True)
class JustReadTwice:
    """The prompt of a document under JRT's protocol.

    ``keyed`` documents are followed by their key, others end just before the answer.
    ``context_length`` is in tokens of ``tokenizer``, including `ANSWER_TOKENS`; None disables
    truncation.
    """

    tokenizer: Tokenizer
    keyed: bool
    context_length: int | None = None
    twice: bool = False

    def __call__(self, doc: Document) -> str:
        return self._keyed(doc) if self.keyed else self._cloze(doc)

    def _keyed(self, doc: Document) -> str:
        """SWDE and FDA: the document, the key, a colon."""
        page, key = doc["text"].partition(SUMMARY)[0].strip(), doc["key"].strip()
        while page.lower().endswith(f"{key}:".lower()):
            page = page[: -len(key) - 1].rstrip()
        page = self._cut(page, key, doc["value"].strip()).strip().strip(".")
        asked = key[:1].upper() + key[1:]
        if self.twice:
            return f"Information about {asked}. {page}.\n{page}. {asked}:"
        return f"{page}. {asked}:"

    def _cloze(self, doc: Document) -> str:
        """SQuAD: a passage whose last sentence ends just before the answer."""
        value = doc["value"].strip()
        text = doc["text"].strip()
        begin = max((end.end() for end in SENTENCE_END.finditer(text)), default=0)
        passage = text[:begin].rstrip()
        text = f"{self._cut(passage, value)}{text[len(passage) :]}".strip()
        if not self.twice:
            return text
        context = self._cut(doc["context"].partition("Question:")[0].strip(), value)
        return f"{doc['question'].strip()} {context.strip()}\n{text}"

    def _cut(self, text: str, *needles: str) -> str:
        """The window of tokens whose middle is the start of the first needle.

        As published, the window stays centred even if it then reaches beyond the end of the text;
        without a needle only its last half window is kept.
        """
        if self.context_length is None:
            return text
        size = self.context_length - ANSWER_TOKENS
        starts = [text.lower().find(needle.lower()) for needle in needles]
        starts = [start for start in starts if start >= 0]
        before = text[: min(starts)] if starts else text
        middle = len(self.tokenizer.tok_encode(before, add_special_tokens=False))
        tokens = self.tokenizer.tok_encode(text, add_special_tokens=False)
        first = max(0, middle - size // 2)
        if first == 0 and len(tokens) <= size:
            return text
        return self.tokenizer.tok_decode(tokens[first : first + size])
