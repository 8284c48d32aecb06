"""Facts about an architecture besides its knobs, kept on its class."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from recall_bench.config import Component
from recall_bench.errors import UserError, nearest

FAMILIES = (
    "softmax",
    "sparse",
    "compressed",
    "linear_attention",
    "delta_rule",
    "state_space",
    "convolution",
    "hybrids",
)
"""The families in the order of tables; each has a folder, and one colour in figures."""

BUILTIN = "recall_bench.architectures."


class Source(NamedTuple):
    """The paper that an architecture comes from."""

    title: str
    arxiv: str

    @property
    def url(self) -> str:
        return f"https://arxiv.org/abs/{self.arxiv}"


class Facts(Component):
    """Class variables of an architecture; presets, suites, figures and tables read them here.

    A plugin may set any of them. An architecture that derives from another inherits its code but
    none of its facts.
    """

    family: ClassVar[str] = ""
    """One of `FAMILIES`; figures draw a plugin without one in a neutral colour. A built-in
    architecture gets it from its folder."""
    marker: ClassVar[str] = ""
    """A marker of matplotlib's, unique within the family; a letter, "$A$", once those run out."""
    source: ClassVar[Source | None] = None
    grids: ClassVar[Mapping[str, Sequence[Mapping[str, Sequence[Any]]]]] = {}
    """By preset, the knob grids that a sweep runs by default; a grid crosses its values."""
    suites: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """By suite, knobs that differ from the defaults; a suite crosses the values of lists."""
    bench: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """By preset, the knobs that `recall-bench bench training` times; by default the first setting
    of the grid."""
    counterparts: ClassVar[Mapping[str, str]] = {}
    """By suite, the name of this architecture in the suite's published table."""
    window_knob: ClassVar[str] = ""
    """The knob that holds how many tokens the mixer sees, the current one included; the empty
    string where a mixer has no such limit. The window ceiling follows from it."""
    published_recipe: ClassVar[Mapping[str, Any]] = {}
    """Fields of the backbone and the training recipe that its authors set differently."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        derived = any(base.__dict__.get("name") for base in cls.__mro__[1:])
        for fact in Facts.__annotations__ if derived else ():
            if fact not in cls.__dict__:
                setattr(cls, fact, getattr(Facts, fact))
        if cls.__module__.startswith(BUILTIN):
            parts = cls.__module__.removeprefix(BUILTIN).split(".")
            cls.family = parts[0] if parts[0] in FAMILIES else ""
        if cls.family and cls.family not in FAMILIES:
            raise UserError(
                f"{cls.__qualname__}: unknown family '{cls.family}'. "
                f"{nearest(cls.family, FAMILIES)}"
            )
