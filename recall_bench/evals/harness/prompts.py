"""The published truncation and the twice-prompt of "Just read twice" (JRT, arXiv 2407.05483).

The harness itself shows every document whole and once. JRT's fork of it (the repository
HazyResearch/prefix-linear-attention, `Task.truncate_context` and the tasks ``based_*`` and
``based_*_twice``) cuts documents to 1,000 tokens (Table 1), or 512, 1,024 and 2,048 (Table 2), 50
of them kept for the answer, and may show them twice. What follows keeps to it, but for two things:
the question is never cut away, and no example is left out for a short answer.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Document = Mapping[str, Any]
Prompt = Callable[[Document], str]

ANSWER_TOKENS = 50
"""Room that JRT keeps for the answer."""
SENTENCE_END = re.compile(r"[.!?][\"')\]]*\s+(?=\W*[A-Z0-9])|\n+")
SUMMARY = "Summary of information above..."
"""What SWDE's texts put between the page and the question; JRT's prompts leave it out."""


class Tokenizer(Protocol):
    """As much of a harness's model as truncation needs."""

    def tok_encode(self, string: str, add_special_tokens: bool | None = None) -> list[int]: ...
    def tok_decode(self, tokens: list[int]) -> str: ...


@dataclass(frozen=True)
class JustReadTwice:
    """The prompt of a document under JRT's protocol.

    ``keyed`` documents are followed by their key, the others break off before the answer.
    ``context_length`` is in tokens of ``tokenizer``, `ANSWER_TOKENS` included; None cuts nothing.
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
        """SQuAD: a passage whose last sentence breaks off where the answer comes."""
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
        """The window of tokens around where the first needle begins, half of it before.

        As published, the window is centred even where it then reaches beyond the end; without a
        needle it is half a window at the end.
        """
        if self.context_length is None:
            return text
        size = self.context_length - ANSWER_TOKENS
        found = [at for needle in needles if (at := text.lower().find(needle.lower())) >= 0]
        before = text[: min(found)] if found else text
        middle = len(self.tokenizer.tok_encode(before, add_special_tokens=False))
        tokens = self.tokenizer.tok_encode(text, add_special_tokens=False)
        first = max(0, middle - size // 2)
        if first == 0 and len(tokens) <= size:
            return text
        return self.tokenizer.tok_decode(tokens[first : first + size])
