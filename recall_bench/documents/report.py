"""A loader's report: counts of items, and counted warnings with the first places."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

PLACES = 3
"""Places that a warning names; others are only counted."""


def unicode_of(name: str) -> str:
    """A name without the lone surrogates that stand for bytes which are not UTF-8."""
    return name.encode(errors="replace").decode()


@dataclass
class LoadReport:
    """Counts, in order of first use; a loader drops nothing without counting it."""

    counts: dict[str, int] = field(default_factory=dict)
    warnings: dict[str, int] = field(default_factory=dict)
    places: dict[str, list[str]] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)
    """The meanings of the values 0, 1, … of a slice, by its name."""

    def count(self, what: str, number: int = 1) -> None:
        """Count something expected."""
        self.counts[what] = self.counts.get(what, 0) + number

    def warn(self, what: str, where: str, number: int = 1) -> None:
        """Count something that the user should know about, and note its place."""
        what = unicode_of(what)
        self.warnings[what] = self.warnings.get(what, 0) + number
        places = self.places.setdefault(what, [])
        if len(places) < PLACES:
            places.append(unicode_of(where))

    def lines(self) -> Iterable[str]:
        """One line of counts, then one for each warning."""
        if self.counts:
            yield ", ".join(f"{number:,} {what}" for what, number in self.counts.items())
        for what, number in self.warnings.items():
            places = self.places[what]
            more = ", …" if number > len(places) else ""
            yield f"{what}: {number:,} ({', '.join(places)}{more})"

    def to_json(self) -> dict[str, Any]:
        """Plain data, for caches and records."""
        return asdict(self)
