"""The source code of components and of the core: its files, and hashes of them without comments and docstrings.

The hash of a component that declares no version is in its keys; all others are provenance.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from prunebench.api.components import Component

CORE = __name__.partition(".")[0]
"""The package whose code the protocol version represents."""


def declared_version(cls: type) -> int | None:
    """The version that a class declares itself; inherited ones do not cover the overridden code."""
    version = vars(cls).get("version")
    return version if isinstance(version, int) else None


def base_versions(cls: type) -> dict[str, int]:
    """Versions of the base classes of a class in other packages, by the names of these components."""
    found = ((base, declared_version(base)) for base in _layers(cls) if base is not cls)
    return {str(getattr(base, "name", base.__name__)): version for base, version in found if version is not None}


def unversioned_modules(cls: type) -> list[str]:
    """The modules of a class and its base classes that declare no version."""
    return sorted({base.__module__ for base in _layers(cls) if declared_version(base) is None}, key=_top)


def _layers(cls: type) -> list[type]:
    """A class and its base classes in other packages, one for each package and none of the core."""
    found: list[type] = []
    for base in cls.__mro__:
        if not issubclass(base, Component) or _package(base) == CORE:
            continue
        if not any(issubclass(one, base) and _package(one) == _package(base) for one in found):
            found.append(base)
    return found


def source_hash(cls: type) -> str:
    """Hash of the code in the file of a class and in the files of the same package that it imports.

    The hash covers base classes in other packages too. For classes of the core it is the hash of the core.
    """
    return core_source() if _package(cls) == CORE else joint_hash(_modules(cls))


def joint_hash(modules: Iterable[str]) -> str:
    hashes = [_module_hash(module) for module in modules]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()[:16]


def _modules(cls: type) -> list[str]:
    """The modules of a class and its base classes, without the core."""
    return sorted({base.__module__ for base in _layers(cls)}, key=_top)


def _top(module: str) -> tuple[str, str]:
    return (module.partition(".")[0], module)


def _package(cls: type) -> str:
    return cls.__module__.partition(".")[0]


def source_files(cls: type) -> list[Path]:
    """The files that `source_hash` covers; none for classes of the core and for classes that were typed at a prompt."""
    return [] if _package(cls) == CORE else _files_of(_modules(cls))


def files_of(components: Iterable[Component]) -> set[Path]:
    """The files that the authors of some components wrote."""
    return {file for component in components for file in source_files(type(component))}


def _files_of(modules: Iterable[str]) -> list[Path]:
    paths = [(module, _file_of(module)) for module in modules]
    return sorted({file for module, path in paths if path is not None for file in _closure(module, path)})


def keyed_hashes(cls: type) -> Mapping[str, str]:
    """Hashes of the files that are in the keys of a component without a version, by their relative paths."""
    return _hashes_by_file(tuple(unversioned_modules(cls)))


def source_hashes(cls: type) -> Mapping[str, str]:
    """Hashes of the `source_files`, by their relative paths."""
    return {} if _package(cls) == CORE else _hashes_by_file(tuple(_modules(cls)))


@functools.cache
def _hashes_by_file(modules: tuple[str, ...]) -> Mapping[str, str]:
    files = _files_of(modules)
    folder = Path(os.path.commonpath([file.parent for file in files])) if files else Path()
    return {file.relative_to(folder).as_posix(): _hash_of([file]) for file in files}


@functools.cache
def _module_hash(module: str) -> str:
    path = _file_of(module)
    if path is None:  # typed at an interpreter's prompt: there is no file to hash
        return "interactive"
    return _hash_of(sorted(_closure(module, path)))


PRESENTATION = ("cli", "inspection", "leaderboard", "messages", "session", "testing", "tracking")
"""The packages of the core that do not affect results."""


@functools.cache
def core_source() -> str:
    """Hash of the code of the core without the packages in PRESENTATION; recorded as provenance, and not in keys."""
    return hashlib.sha256(json.dumps(core_hashes(), sort_keys=True).encode()).hexdigest()[:16]


@functools.cache
def core_hashes() -> Mapping[str, str]:
    """Hashes of the modules of the core that plan or perform stages, by their relative paths."""
    return {name: _hash_of([path]) for name, path in core_files().items()}


def core_files() -> dict[str, Path]:
    """Files of the modules of the core that plan or perform stages, by their relative paths."""
    root = Path(__file__).parents[1]
    files = {path.relative_to(root): path for path in sorted(root.rglob("*.py"))}
    return {name.as_posix(): path for name, path in files.items() if name.parts[0] not in PRESENTATION}


def _hash_of(paths: Any) -> str:
    sources = "\n".join(f"{path.name}\n{code_text(path.read_text('utf-8'))}" for path in paths)
    return hashlib.sha256(sources.encode()).hexdigest()[:16]


def code_text(source: str) -> str:
    """The syntax tree of a source as text, without comments, layout and docstrings; the same in any Python version."""
    return _written(ast.parse(source))


def _written(node: Any) -> str:
    """A tree as text with the fields that are set; `ast.dump` also shows fields that later versions of Python add."""
    if isinstance(node, list):
        return "[" + ",".join(map(_written, node)) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    parts = {name: value for name, value in ast.iter_fields(node) if value not in (None, []) and name not in _UNSAID}
    if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        parts["body"] = [part for part in node.body if not _is_text(part)]
    elif isinstance(node, ast.JoinedStr):
        parts["values"] = _merged(node.values)
    return type(node).__name__ + "(" + ",".join(f"{name}={_written(value)}" for name, value in parts.items()) + ")"


_UNSAID = ("ctx", "kind", "type_comment", "type_ignores")
"""Redundant fields."""


def _merged(values: list[ast.expr]) -> list[ast.expr | str]:
    """The parts of an f-string; some versions of Python split text that others have in one part."""
    merged: list[ast.expr | str] = []
    for value in values:
        text = value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None
        if text is not None and merged and isinstance(merged[-1], str):
            merged[-1] += text
        elif text != "":
            merged.append(value if text is None else text)
    return merged


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _file_of(module: str) -> Path | None:
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None and module not in sys.modules:
        spec = importlib.util.find_spec(module)
        file = spec.origin if spec else None
    return Path(file) if file and file.endswith(".py") else None


@functools.cache
def _closure(module: str, path: Path) -> frozenset[Path]:
    """The file, and the files of the same top-level package that it imports, directly or indirectly."""
    found, waiting = {path}, [(module, path)]
    while waiting:
        name, file = waiting.pop()
        for imported in _imports(name, file):
            if imported.partition(".")[0] != module.partition(".")[0]:
                continue
            target = _file_of(imported)
            if target is not None and target not in found:
                found.add(target)
                waiting.append((imported, target))
    return frozenset(found)


def _imports(module: str, path: Path) -> Iterator[str]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            name = "." * node.level + (node.module or "")
            base = importlib.util.resolve_name(name, package) if node.level else name
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names if _is_module(f"{base}.{alias.name}", module))


def _is_module(name: str, module: str) -> bool:
    if name.partition(".")[0] != module.partition(".")[0]:
        return False
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the parent is a module, so the name is a function or class in it
        return False
