"""Facts about an architecture besides its knobs, kept on its class."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from recall_bench.config import Component, ModelConfig
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


class Recipe(NamedTuple):
    """A training recipe of others for an architecture, where it differs from our default."""

    source: str
    """The code or paper that specifies it."""
    backbone: Mapping[str, Any] = {}
    """Fields of `recall_bench.config.ModelConfig`."""
    layer: str = ""
    """The difference that `Architecture.mixer` makes when it gets the name of this recipe."""


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
    published_recipe: ClassVar[Recipe | None] = None
    """How the released code of Based's Figure 2 trains it; None if that code lacks it or agrees
    with our default."""
    authors_recipe: ClassVar[Recipe | None] = None
    """How its own authors train it; None if they agree with our default or nobody compared."""

    @classmethod
    def recipe_named(cls, name: str) -> Recipe | None:
        """The recipe "published" or "authors"; None for "default" and where it does not differ."""
        return {"published": cls.published_recipe, "authors": cls.authors_recipe}.get(name)

    def backbone(self, given: ModelConfig) -> ModelConfig:
        """The backbone under the recipe that ``given`` names.

        Raises `UserError` if ``given`` also sets a field of that recipe to something else.
        """
        recipe = self.recipe_named(given.recipe)
        if recipe is None:
            return given
        for name, value in recipe.backbone.items():
            own = getattr(given, name)
            if own not in (value, ModelConfig.model_fields[name].default):
                raise UserError(
                    f"The recipe '{given.recipe}' of '{self.name}' sets {name} to {value}. "
                    f"Expected no other value, got {own}. Leave {name} out, or use the recipe "
                    f"'default'."
                )
        return given.model_copy(update=dict(recipe.backbone))

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
