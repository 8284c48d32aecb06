"""Tasks and architectures by name: the built-in ones, installed plugins, and plugin files.

A lookup imports only the module it needs. It finds built-in architectures by file name below
``architectures/<family>/``, built-in tasks in the table below, and installed plugins through entry
points. In a plugin file, the decorator on a class registers it.
"""

import contextlib
import functools
import importlib
import importlib.metadata
import importlib.util
import re
import sys
import traceback
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from recall_bench.errors import UserError, nearest
from recall_bench.plugins import interrupts, source
from recall_bench.plugins.registration import check_class, check_defaults, check_name, one_line

PACKAGE = Path(__file__).parent
NOT_FAMILIES = {"adapters", "pieces"}
"""Folders below ``architectures/`` that hold parts of architectures."""


class Registry:
    """Classes of one kind by name.

    ``builtin`` returns the module of every built-in name, "module" or "module:Class". The first
    lookup calls it, once.
    """

    def __init__(self, kind: str, group: str, builtin: Callable[[], Mapping[str, str]]):
        self.kind = kind
        self._group = group
        self._find_builtin = builtin
        self._registered: dict[str, type] = {}

    @functools.cached_property
    def _builtin(self) -> Mapping[str, str]:
        return self._find_builtin()

    @functools.cached_property
    def _renamed(self) -> dict[str, str]:
        """Modules by the ``stored_as`` in their source text, read without importing them."""
        return {
            name: module
            for module in self._builtin.values()
            if ":" not in module
            for name in re.findall(r'stored_as="([^"]+)"', _file_of(module).read_text("utf-8"))
        }

    def _entry_points(self) -> dict[str, importlib.metadata.EntryPoint]:
        return {point.name: point for point in importlib.metadata.entry_points(group=self._group)}

    def builtin(self) -> list[str]:
        """The built-in names, one per class."""
        return list(self._builtin)

    def names(self) -> list[str]:
        """All known names, one per class: built-in names first, then the others sorted."""
        registered = {
            name
            for name, cls in self._registered.items()
            if getattr(cls, "alias", "") in ("", name)
        }
        others = {*registered, *self._entry_points()} - set(self._builtin)
        return [*self._builtin, *sorted(others)]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def get(self, name: str) -> Any:
        """The class registered as ``name``; raises `UserError` with the nearest valid name."""
        if name in self._registered:
            return self._registered[name]
        if module := self._module_of(name):
            cls = _class_in(module, name)
        elif name in (points := self._entry_points()):
            with _importing(f"The installed plugin {name!r} ({points[name].value})"):
                cls = points[name].load()
            if not isinstance(cls, type):
                raise UserError(
                    f"The entry point {points[name].value} of {self.kind} {name!r} is a "
                    f"{type(cls).__name__}; expected a registered class."
                )
            check_class(self.kind, name, cls)
            check_defaults(self.kind, cls)
        else:
            raise UserError(f"Unknown {self.kind} '{name}'. {nearest(name, self.names())}")
        return self._registered.setdefault(name, cls)

    def find(self, name: str) -> Any:
        """The class registered as ``name``, or None if there is none, for readers of records.

        Records outlive plugins, which may not be installed here.
        """
        try:
            return self.get(name)
        except UserError:
            return None

    def _module_of(self, name: str) -> str | None:
        return self._builtin.get(name) or self._renamed.get(name)

    def register(
        self, name: str, version: int = 1, *, stored_as: str | None = None
    ) -> Callable[[Any], Any]:
        """Class decorator: sets ``name`` and ``version`` on the class and registers it.

        Bump ``version`` when the meaning of the class's results changes: it is part of run ids.
        ``stored_as`` is the name in records and run ids, if that differs; the package accepts both
        names everywhere.
        """

        for known in (name, stored_as or name):
            check_name(self.kind, known)
        if isinstance(version, bool) or not isinstance(version, int) or version < 1:
            raise UserError(
                f"The version of {self.kind} {name!r} is {version!r}. Expected an integer, at "
                f"least 1."
            )

        def decorate(cls: Any) -> Any:
            check_class(self.kind, name, cls)
            own_path = f"{cls.__module__}.{cls.__qualname__}"
            for known in {name, stored_as or name}:
                taken = self._registered.get(known)
                module, _, attribute = (self._module_of(known) or "").partition(":")
                builtin = f"{module}.{attribute or cls.__qualname__}" if module else ""
                taken_by = f"{taken.__module__}.{taken.__qualname__}" if taken else builtin
                if taken_by and taken_by != own_path:
                    raise UserError(
                        f"The {self.kind} name '{known}' is taken by {taken_by}. "
                        f"Choose another name."
                    )
            cls.name = stored_as or name
            cls.alias = name if stored_as else ""
            cls.version = version
            self._registered |= {name: cls, cls.name: cls}
            return cls

        return decorate


def _file_of(module: str) -> Path:
    return PACKAGE.parent.joinpath(*module.split(".")).with_suffix(".py")


def _class_in(reference: str, name: str) -> type:
    """The class at "module:Class", or the one that "module" registers under ``name``."""
    path, _, attribute = reference.partition(":")
    module = importlib.import_module(path)
    if attribute:
        cls: type = getattr(module, attribute)
        return cls
    own = [
        cls
        for cls in vars(module).values()
        if isinstance(cls, type) and cls.__module__ == path and "version" in vars(cls)
    ]
    for cls in own:
        if name in (cls.name, cls.alias):  # type: ignore[attr-defined]
            return cls
    names = ", ".join(repr(cls.name) for cls in own) or "nothing"  # type: ignore[attr-defined]
    raise UserError(f"{_file_of(path)} must register '{name}', its file name. Got {names}.")


def architecture_modules(folder: Path) -> dict[str, str]:
    """Modules of the architectures below ``<folder>/<family>/``, by name.

    The file name gives the name: ``gated_deltanet.py`` is "gated-deltanet". Skips files that begin
    with an underscore and layer files, ``*_layer.py``. Raises `UserError` if two families have the
    same name.
    """
    modules: dict[str, str] = {}
    for file in sorted(folder.glob("[!_]*/[!_]*.py"), key=lambda file: file.name):
        family = file.parent.name
        if family in NOT_FAMILIES or file.stem.endswith("_layer"):
            continue
        name, module = file.stem.replace("_", "-"), f"{family}.{file.stem}"
        if name in modules:
            raise UserError(
                f"Two families have an architecture '{name}': {modules[name]} and {module}. "
                f"Rename one of the files."
            )
        modules[name] = module
    return {name: f"recall_bench.architectures.{module}" for name, module in modules.items()}


architectures = Registry(
    "architecture",
    "recall_bench.architectures",
    lambda: architecture_modules(PACKAGE / "architectures"),
)
TASKS = {
    "mqar": "recall_bench.tasks.recall.mqar:MQAR",
    "ar": "recall_bench.tasks.recall.ar:AssociativeRecall",
    "forgetting-mqar": "recall_bench.tasks.recall.forgetting_mqar:ForgettingMQAR",
    "compositional-mqar": "recall_bench.tasks.recall.compositional_mqar:CompositionalMQAR",
    "induction": "recall_bench.tasks.recall.induction:Induction",
    "selective-copying": "recall_bench.tasks.recall.selective_copying:SelectiveCopying",
    "copying": "recall_bench.tasks.recall.copying:Copying",
    "ngram-lookup": "recall_bench.tasks.recall.ngram_lookup:NgramLookup",
    "phonebook": "recall_bench.tasks.recall.phonebook:Phonebook",
    "set-disjointness": "recall_bench.tasks.recall.set_disjointness:SetDisjointness",
    "in-context-language": "recall_bench.tasks.recall.in_context_language:InContextLanguage",
    "mad-in-context-recall": "recall_bench.tasks.mad.recall:MADInContextRecall",
    "mad-noisy-recall": "recall_bench.tasks.mad.recall:MADNoisyRecall",
    "mad-fuzzy-recall": "recall_bench.tasks.mad.fuzzy_recall:MADFuzzyRecall",
    "mad-selective-copying": "recall_bench.tasks.mad.selective_copying:MADSelectiveCopying",
    "mad-compression": "recall_bench.tasks.mad.compression:MADCompression",
    "mad-memorization": "recall_bench.tasks.mad.memorization:MADMemorization",
    "swde": "recall_bench.tasks.text.swde:SWDE",
    "squad": "recall_bench.tasks.text.squad:SQuAD",
    "text": "recall_bench.tasks.text.text:PlainText",
    "documents": "recall_bench.tasks.text.documents:Documents",
    "needle": "recall_bench.tasks.ruler.needle:Needle",
    "variable-tracking": "recall_bench.tasks.ruler.variable_tracking:VariableTracking",
    "common-words": "recall_bench.tasks.ruler.word_counts:CommonWords",
    "frequent-words": "recall_bench.tasks.ruler.word_counts:FrequentWords",
}
tasks = Registry("task", "recall_bench.tasks", lambda: TASKS)

register_architecture = architectures.register
register_task = tasks.register


def load_plugin(path: str | Path) -> ModuleType:
    """Import a plugin file, whose decorators register its classes.

    Raises `UserError` if the file is missing, does not import, or registers nothing.
    """
    source.forget()
    file = Path(path)
    if not file.is_file():
        raise UserError(f"The plugin file {file} does not exist. Expected a Python file.")
    name = f"recall_bench_plugin_{file.stem}_{zlib.crc32(str(file.resolve()).encode()):08x}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UserError(
            f"The plugin {file} is not a Python file: expected a name that ends in .py."
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    before = {kind: dict(kind._registered) for kind in (architectures, tasks)}
    try:
        with _importing(f"The plugin {file}"):
            spec.loader.exec_module(module)
        classes = registered_by(module)
        for cls in classes:
            kind = architectures if cls in architectures._registered.values() else tasks
            check_defaults(kind.kind, cls)
        if not classes:
            raise UserError(
                f"The plugin {file} registers nothing. Expected a class under "
                f'@register_architecture("name") or @register_task("name").'
            )
    except BaseException:
        del sys.modules[name]
        for kind, known in before.items():
            kind._registered = known
        raise
    return module


def is_builtin(cls: type) -> bool:
    """Whether this package defines a class, and no plugin."""
    return cls.__module__.startswith("recall_bench.")


@contextlib.contextmanager
def _importing(what: str) -> Iterator[None]:
    """Turn whatever an import raises into a `UserError`, except the user's own interruption."""
    try:
        yield
    except UserError:
        raise
    except BaseException as error:
        if interrupts.by_user(error):
            raise
        raise UserError(f"{what} does not import: {one_line(error)}") from error


def plugin_line(error: BaseException) -> str | None:
    """File and line of the innermost frame of a plugin that an error went through, if any."""
    modules = {
        cls.__module__
        for kind in (architectures, tasks)
        for cls in kind._registered.values()
        if not is_builtin(cls)
    }
    place = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__") in modules:
            place = f"{frame.f_code.co_filename}, line {line}"
    return place


def registered_by(module: ModuleType) -> list[type]:
    """The classes that ``module`` registered, tasks and architectures."""
    return [
        cls
        for registry in (architectures, tasks)
        for cls in dict.fromkeys(registry._registered.values())
        if cls.__module__ == module.__name__
    ]
