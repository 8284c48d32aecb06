"""The look of our figures, and how they are written to a file.

A family of architectures has one colour, and its members differ by their markers. The eight colours
are Okabe and Ito's, which colour-blind readers can tell apart; in greyscale the markers remain.
"""

import contextlib
import io
import zlib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from recall_bench import registry
from recall_bench.errors import UserError
from recall_bench.store.files import explained, write_file

Paths: TypeAlias = str | Path | Iterable[str | Path]


class Style(NamedTuple):
    """The look of an architecture in a figure."""

    color: str
    marker: str


FAMILY_COLORS = {
    "softmax": "#000000",
    "sparse": "#56B4E9",
    "compressed": "#E69F00",
    "linear_attention": "#D55E00",
    "delta_rule": "#009E73",
    "state_space": "#0072B2",
    "convolution": "#F0E442",
    "hybrids": "#CC79A7",
}
NEUTRAL = "#808080"
"""The colour of architectures without a family, or not installed here."""
WINDOW_DASH: dict[str, Any] = {
    "color": "0.25",
    "linestyle": "none",
    "marker": "_",
    "markersize": 10,
    "markeredgewidth": 1.0,
}
"""The look of the best accuracy that a stack of windows allows."""
LETTERS = tuple(f"${letter}$" for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
"""Markers for when all others are taken."""
FREE_MARKERS = ("h", "d", "<", ">", "p", "8")
"""Markers for architectures that declare none; built-in ones rarely use these."""
MARKER_SCALE = {"*": 1.5, "D": 0.85, "d": 1.15, "p": 1.15, "h": 1.15, "P": 1.1, "X": 1.1}

RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 9,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "recall-bench",
}
METADATA: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
}


def styles_of(architectures: Iterable[str]) -> dict[str, Style]:
    """A different style for each architecture: its family's colour and its own marker.

    An architecture that declares no marker gets one by its name. The next free marker replaces a
    declared one that another architecture of the same colour has, and a picked one that any has.
    """
    names = sorted(set(architectures))
    known = {name: registry.architectures.find(name) for name in names}
    colors = {
        name: FAMILY_COLORS.get(getattr(cls, "family", ""), NEUTRAL) for name, cls in known.items()
    }
    markers = {name: getattr(cls, "marker", "") for name, cls in known.items()}
    styles: dict[str, Style] = {}
    for name in sorted(names, key=lambda name: (not markers[name], name)):
        style = Style(colors[name], markers[name])
        if not style.marker or style in styles.values():
            taken = {other.marker for other in styles.values()}
            style = Style(colors[name], _free(name, taken))
        styles[name] = style
    return {name: styles[name] for name in names}


def _free(name: str, taken: Collection[str]) -> str:
    """A marker that nothing in the figure has; a name keeps its marker where it is free."""
    start = zlib.crc32(name.encode()) % len(FREE_MARKERS)
    ring = (*FREE_MARKERS[start:], *FREE_MARKERS[:start], *LETTERS)
    return next((marker for marker in ring if marker not in taken), ring[0])


def mean_marker(style: Style, width: float, highlighted: bool = False) -> dict[str, Any]:
    """Line properties of a point's mean, in a figure of ``width`` inches."""
    size = (5.0 if width < 5 else 6.0) * MARKER_SCALE.get(style.marker, 1.0)
    pale = style.color == FAMILY_COLORS["convolution"]
    return {
        "color": style.color,
        "marker": style.marker,
        "markersize": size * (1.25 if highlighted else 1.0),
        "markeredgecolor": "black" if highlighted else "0.4" if pale else "white",
        "markeredgewidth": 1.1 if highlighted else 0.5,
    }


@contextlib.contextmanager
def print_style() -> Iterator[None]:
    """Our settings on top of matplotlib's defaults; the user's configuration has no effect."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        for name, value in RC.items():
            matplotlib.rcParams[name] = value  # type: ignore[index]
        yield


def new_figure(width: float, height: float, title: str | None) -> tuple[Figure, Axes]:
    """One pair of axes on a canvas that needs no display; sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if title:
        axes.set_title(title, loc="left", parse_math=False)
    return figure, axes


def memory_axis(axes: Axes, low: float, high: float) -> None:
    """A logarithmic axis of state bytes."""
    memory_ticks(axes, low, high)
    axes.set_xlabel("memory carried per sequence (state bytes)")


def memory_ticks(axes: Axes, low: float, high: float) -> None:
    """A logarithmic horizontal axis with ticks such as "10 kB"."""
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    labelled = (1, 2, 5) if high < 50 * low else (1,)
    axes.xaxis.set_major_locator(LogLocator(subs=labelled, numticks=20))
    axes.xaxis.set_minor_locator(LogLocator(subs=range(2, 10), numticks=99))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: bytes_text(x)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def recall_axis(axes: Axes) -> None:
    """An axis from 0 to 1 with room for markers at both ends."""
    axes.set_ylim(-0.02, 1.04)
    axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1])
    axes.set_ylabel("recall (test accuracy)")


def bytes_text(count: float) -> str:
    """12500 -> '12.5 kB': decimal units, three digits."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5 or unit == "GB":
            break
        count /= 1000
    return f"{count:.3g} {unit}"


def size_text(count: float) -> str:
    """`bytes_text` of a state, or "state not measured"."""
    return "state not measured" if count != count else bytes_text(count)


def legend_outside(figure: Figure, handles: list[Any]) -> None:
    """A legend beside a wide plot; below a narrow one, which grows by the legend's height."""
    if figure.get_figwidth() >= 5:
        _literal(figure.legend(handles=handles, loc="outside right upper"))
        return
    columns = 1 if max(len(handle.get_label()) for handle in handles) > 26 else 2
    legend = figure.legend(handles=handles, loc="outside lower center", ncols=columns)
    _literal(legend)
    added = legend.get_window_extent().height / figure.dpi
    figure.set_figheight(figure.get_figheight() + added)


def _literal(legend: Legend) -> None:
    """Show names as they are: a dollar sign in one begins no formula."""
    for text in legend.get_texts():
        text.set_parse_math(False)


def save(figure: Figure, path: Paths | None) -> None:
    """Write a figure atomically to one path or several: PNG at 300 dpi, SVG, or PDF.

    SVG keeps text as text; the same figure gives the same bytes. Raises `UserError` for another
    suffix.
    """
    files = [Path(file) for file in ([path] if isinstance(path, str | Path) else path or [])]
    for file in files:
        if file.suffix.lower() not in METADATA:
            raise UserError(
                f"{file}: unknown suffix {file.suffix!r}. Expected one of {', '.join(METADATA)}."
            )
    for file in files:
        suffix, buffer = file.suffix.lower(), io.BytesIO()
        with print_style():
            figure.savefig(buffer, format=suffix[1:], dpi=300, metadata=METADATA[suffix])
        with explained(file):
            file.parent.mkdir(parents=True, exist_ok=True)
        write_file(file, buffer.getvalue())
