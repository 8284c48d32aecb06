"""The source of plugins as a digest, by which run ids and records tell edited code apart."""

import ast
import functools
import hashlib
import inspect
from collections.abc import Iterable, Iterator
from pathlib import Path


def digest_of(classes: Iterable[type]) -> str | None:
    """SHA-256, 16 digits, of the source that defines some classes; None without any class.

    The source is the file of each class and the modules below that file's folder which it imports,
    directly or not. A class without a file, of an interactive session, counts by its own text.
    """
    digests = sorted({_digest(cls) for cls in classes})
    if len(digests) < 2:
        return next(iter(digests), None)
    return _short("\n".join(digests).encode())


@functools.cache
def _digest(cls: type) -> str:
    """The digest of one class, cached until `forget` so that it stays the same within a command."""
    try:
        file = inspect.getsourcefile(cls)
    except TypeError:
        file = None
    if file is None or not Path(file).is_file():
        try:
            return _short(inspect.getsource(cls).encode())
        except (OSError, TypeError):
            return _short(f"{cls.__module__}.{cls.__qualname__}".encode())
    return _of_file(Path(file).resolve())


def forget() -> None:
    """Read sources again; called where a command or a worker process loads its plugins."""
    _digest.cache_clear()


def _of_file(file: Path) -> str:
    helpers = sorted(_imported(file, file.parent, {file}) - {file})
    if not helpers:
        return _short(file.read_bytes())
    parts = [_short(file.read_bytes())]
    parts += [f"{path.relative_to(file.parent)} {_short(path.read_bytes())}" for path in helpers]
    return _short("\n".join(parts).encode())


def _imported(file: Path, folder: Path, seen: set[Path]) -> set[Path]:
    """Adds to ``seen`` the files below ``folder`` that ``file`` imports, and those they import.

    Reads the source instead of loaded modules: plugins import their layers when they are built.
    """
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return seen
    for node in ast.walk(tree):
        for imported in _candidates(node, file, folder):
            if imported not in seen and imported.is_file():
                seen.add(imported)
                _imported(imported, folder, seen)
    return seen


def _candidates(node: ast.AST, file: Path, folder: Path) -> Iterator[Path]:
    """The files below ``folder`` that an import statement may read, whether or not they exist."""
    if isinstance(node, ast.Import):
        for name in node.names:
            yield from _below(folder, name.name.split("."))
    elif isinstance(node, ast.ImportFrom):
        names = node.module.split(".") if node.module else []
        members = [[], *([alias.name] for alias in node.names)]
        for member in members:
            if node.level == 0:
                yield from _below(folder, names + member)
            elif len(file.parents) >= node.level and file.parents[node.level - 1].is_relative_to(
                folder
            ):
                yield from _modules(file.parents[node.level - 1], names + member)


def _below(folder: Path, names: list[str]) -> Iterator[Path]:
    """A module's files if ``folder``, or a folder above it, is where imports begin."""
    for depth in range(len(names)):
        if depth == 0 or list(folder.parts[-depth:]) == names[:depth]:
            yield from _modules(folder, names[depth:])


def _modules(start: Path, names: list[str]) -> Iterator[Path]:
    for end in range(1, len(names) + 1):
        path = start.joinpath(*names[:end])
        yield path.with_name(f"{path.name}.py")
        yield path / "__init__.py"


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
