"""SWDE: attributes of web pages, read from the page (Hao et al., SIGIR 2011).

The data lie as their authors published them, see `recall_bench.documents.swde`; any number of
verticals and sites will do. Questions have the prompt of Based (2402.18668): the page's text, ". ",
the attribute, ":". Two differences from the published evaluation, which has no training at all: a
model is trained from scratch on the pages of all sites but those held out, and a page is the text
of all its blocks, one a line.
"""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from recall_bench.documents import swde
from recall_bench.documents.corpus import Corpus
from recall_bench.documents.source import Files
from recall_bench.errors import UserError, nearest
from recall_bench.registry import register_task
from recall_bench.tasks.text.questions import QuestionTask


@register_task("swde")
class SWDE(QuestionTask):
    """Attributes of real web pages; tests on pages, and on a site, never trained on."""

    loader: ClassVar[int] = swde.LOADER

    held_out: str = Field(
        "last", description="sites never trained on, joined by '+'; the last by name; or nothing"
    )

    @classmethod
    def find(cls, path: Path) -> Files:
        return swde.find(path)

    def load(self, path: Path) -> Corpus:
        return swde.load(path)

    def held_out_sites(self, sites: list[str]) -> frozenset[str]:
        """The sites named; "last" is the last by name where there are several."""
        if self.held_out == "last":
            return frozenset(sites[-1:] if len(sites) > 1 else [])
        if self.held_out == "nothing":
            return frozenset()
        named = [name.strip() for name in self.held_out.split("+")]
        for name in named:
            if name not in sites:
                raise UserError(
                    f"held_out: there is no site '{name}'. {nearest(name, [*sites, 'nothing'])}"
                )
        if len({*named}) == len(sites):
            raise UserError(f"held_out: all sites are held out. Expected fewer than {len(sites)}.")
        return frozenset(named)
