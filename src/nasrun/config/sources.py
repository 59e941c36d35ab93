"""Sources of modules, parsed but not imported, and the meaning of names in them."""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def module_of(name: str) -> Module | None:
    """Return the module of this dotted name, `None` if it has no source."""
    top, *parts = name.split(".")
    if top == PACKAGE.name:
        folders = [PACKAGE]
    else:
        try:
            spec = find_spec(top)  # a top-level name, so this imports nothing
        except (ImportError, ValueError):
            return None
        if spec is None:
            return None
        if not parts and spec.origin is not None and spec.origin.endswith(".py"):
            return _module(name, Path(spec.origin))
        folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    for folder in folders:
        stem = folder.joinpath(*parts)
        for path in (stem / "__init__.py", stem.with_name(f"{stem.name}.py")):
            if path.is_file():
                return _module(name, path)
    return None


@dataclass(frozen=True)
class Module:
    """The parsed source of a module."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def is_package(self) -> bool:
        """Return whether the source is the `__init__.py` of a package."""
        return self.path.name == "__init__.py"

    @cached_property
    def bound(self) -> dict[str, ast.stmt | str]:
        """Return the names of the module, each with its definition or the path of its import."""
        return dict(self._bindings(self.tree.body))

    def path_of(self, node: ast.stmt) -> str:
        """Return the dotted path of a class or a function of the module."""
        assert isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        return f"{self.name}.{node.name}"

    def resolve(self, node: ast.expr) -> str:
        """Return the dotted path that a name in the source means; empty for other expressions."""
        if isinstance(node, ast.Attribute):
            outer = self.resolve(node.value)
            return f"{outer}.{node.attr}" if outer else ""
        if not isinstance(node, ast.Name):
            return ""
        found = self.bound.get(node.id)
        if isinstance(found, str):
            return found
        if found is None and hasattr(builtins, node.id):
            return f"builtins.{node.id}"
        return f"{self.name}.{node.id}"

    def _bindings(self, body: Iterable[ast.stmt]) -> Iterator[tuple[str, ast.stmt | str]]:
        for node in body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield node.name, node
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    top = alias.name.split(".")[0]
                    yield alias.asname or top, alias.name if alias.asname else top
            elif isinstance(node, ast.ImportFrom):
                source = self._source(node)
                for alias in node.names:
                    yield alias.asname or alias.name, f"{source}.{alias.name}"
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                yield node.targets[0].id, node
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                yield node.target.id, node
            elif isinstance(node, ast.If | ast.Try | ast.With):
                yield from self._bindings(
                    child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)
                )

    def _source(self, node: ast.ImportFrom) -> str:
        if node.level == 0:
            return node.module or ""
        parts = self.name.split(".")
        parts = parts[: len(parts) - node.level + (1 if self.is_package else 0)]
        return ".".join([*parts, node.module] if node.module else parts)


def _module(name: str, path: Path) -> Module | None:
    return _parsed(name, path, path.stat().st_mtime_ns)


@cache
def _parsed(name: str, path: Path, changed: int) -> Module | None:
    try:
        return Module(name, path, ast.parse(path.read_bytes()))
    except (SyntaxError, ValueError, OSError):
        return None


def find(path: str, hops: int = 9) -> tuple[Module, ast.stmt] | None:
    """Return the module and the definition that a dotted path names, followed through imports."""
    module_name, _, name = path.rpartition(".")
    if not _is_read(module_name) or (module := module_of(module_name)) is None:
        return None
    found = module.bound.get(name)
    if isinstance(found, str):
        return find(found, hops - 1) if hops and found != path else None
    return None if found is None else (module, found)


def _is_read(module: str) -> bool:
    """Return whether a module is read for the types and bases that it defines."""
    top, _, rest = module.partition(".")
    if top == "torch":
        return rest.split(".")[0] == "optim"
    return bool(top) and top not in sys.stdlib_module_names
