"""Tasks and architectures by name: the built-in ones, installed plugins, and plugin files.

Built-in entries and entry points are import strings, so that nothing is imported before it is
asked for. A plugin is registered by the decorator on its class.
"""

import importlib
import importlib.metadata
import importlib.util
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from recall_bench.errors import UserError, nearest


class Registry:
    """Classes of one kind by name; values are classes or lazy "module:Class" strings."""

    def __init__(self, kind: str, group: str, builtin: dict[str, str]):
        self.kind = kind
        self._group = group
        self._builtin = builtin
        self._registered: dict[str, type] = {}

    def _entry_points(self) -> dict[str, importlib.metadata.EntryPoint]:
        return {point.name: point for point in importlib.metadata.entry_points(group=self._group)}

    def names(self) -> list[str]:
        """All known names: built-in first, in their own order, then the others sorted."""
        others = {*self._registered, *self._entry_points()} - set(self._builtin)
        return [*self._builtin, *sorted(others)]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def get(self, name: str) -> Any:
        """The class registered as ``name``; raises `UserError` with the nearest valid name."""
        if name in self._registered:
            return self._registered[name]
        points = self._entry_points()
        if name in self._builtin:
            module, _, attribute = self._builtin[name].partition(":")
            found = getattr(importlib.import_module(module), attribute)
        elif name in points:
            try:
                found = points[name].load()
            except Exception as error:
                raise UserError(
                    f"The installed plugin {name!r} ({points[name].value}) does not import: "
                    f"{type(error).__name__}: {error}"
                ) from error
            if not isinstance(found, type):
                raise UserError(
                    f"The entry point {points[name].value} of {self.kind} {name!r} is a "
                    f"{type(found).__name__}; expected a registered class."
                )
        else:
            raise UserError(f"Unknown {self.kind} '{name}'. {nearest(name, self.names())}")
        return self._registered.setdefault(name, found)

    def register(self, name: str, version: int = 1) -> Callable[[Any], Any]:
        """Class decorator: gives the class its ``name`` and ``version`` and makes it known.

        Bump ``version`` when the meaning of the class's results changes: it is part of run ids.
        """

        def decorate(cls: Any) -> Any:
            taken = self._registered.get(name)
            taken_by = (
                f"{taken.__module__}.{taken.__qualname__}" if taken else self._builtin.get(name)
            )
            if taken_by and taken_by.replace(":", ".") != f"{cls.__module__}.{cls.__qualname__}":
                raise UserError(
                    f"The {self.kind} name '{name}' is taken by {taken_by}. Choose another name."
                )
            cls.name = name
            cls.version = version
            self._registered[name] = cls
            return cls

        return decorate


architectures = Registry(
    "architecture",
    "recall_bench.architectures",
    {
        "based": "recall_bench.architectures.linear_attention.based:Based",
        "taylor-attention": "recall_bench.architectures.linear_attention.taylor_attention:TaylorAttention",  # noqa: E501
        "sliding-window": "recall_bench.architectures.softmax.sliding_window:SlidingWindow",
        "attention": "recall_bench.architectures.softmax.attention:Attention",
        "short-conv": "recall_bench.architectures.convolution.short_conv:ShortConv",
        "mamba": "recall_bench.architectures.state_space.mamba:Mamba",
        "h3": "recall_bench.architectures.state_space.h3:H3",
        "rwkv": "recall_bench.architectures.linear_attention.rwkv:RWKV",
    },
)
tasks = Registry(
    "task",
    "recall_bench.tasks",
    {
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
    },
)

register_architecture = architectures.register
register_task = tasks.register


def load_plugin(path: str | Path) -> ModuleType:
    """Import a plugin file; its decorators register what it defines.

    Raises `UserError` when the file is missing, does not import, or registers nothing.
    """
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
    try:
        spec.loader.exec_module(module)
    except UserError:
        del sys.modules[name]
        raise
    except Exception as error:
        del sys.modules[name]
        raise UserError(
            f"The plugin {file} does not import: {type(error).__name__}: {error}"
        ) from error
    if not registered_by(module):
        del sys.modules[name]
        raise UserError(
            f"The plugin {file} registers nothing. Expected a class under "
            f'@register_architecture("name") or @register_task("name").'
        )
    return module


def registered_by(module: ModuleType) -> list[type]:
    """The classes that ``module`` registered, tasks and architectures."""
    return [
        cls
        for registry in (architectures, tasks)
        for cls in registry._registered.values()
        if cls.__module__ == module.__name__
    ]
