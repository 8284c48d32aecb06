"""Checks a plugin's architecture once, quickly, before a sweep spends time on it."""

from pathlib import Path

from recall_bench import __version__, registry
from recall_bench.architectures import Architecture
from recall_bench.architectures.plugins import plugin_layers
from recall_bench.config import WITH_DEFAULTS, short_hash
from recall_bench.plugins.source import digest_of
from recall_bench.store.files import explained, write_file
from recall_bench.testing.mixers import check_mixer
from recall_bench.testing.report import Report

LENGTH, LENGTH_ON_GPU = 32, 96
"""Tokens of a quick check; GPU kernels treat up to 64 tokens differently from more."""


class ContractBroken(Exception):
    """A plugin's layers fail their check; ``report`` lists the failing properties."""

    def __init__(self, report: Report):
        super().__init__(str(report))
        self.report = report


def verify(architecture: Architecture, store: Path) -> str:
    """Check the plugin's layers; returns the properties that hold, such as "17/17 float64 cpu".

    A file in ``<store>/.checks`` remembers a passed check by the knobs and the digest of the
    plugin's source. Raises `ContractBroken` if a property fails.
    """
    names, on = plugin_layers(architecture), architecture.check_on
    key = short_hash(
        {
            "architecture": architecture.model_dump(mode="json", context=WITH_DEFAULTS),
            "sources": digest_of(registry.architectures.get(name) for name in names),
            "on": [str(on), on.allowed],
            "version": __version__,
        }
    )
    remembered = store / ".checks" / key
    if remembered.exists():
        return remembered.read_text()
    length = LENGTH if on.device == "cpu" else LENGTH_ON_GPU
    report = check_mixer(architecture, length=length, batch=2, only=names)
    if not report.passed:
        raise ContractBroken(report)
    with explained(remembered):
        remembered.parent.mkdir(parents=True, exist_ok=True)
    write_file(remembered, report.verified.encode())
    return report.verified
