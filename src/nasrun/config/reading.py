"""The signatures of classes and functions, read from their sources: nothing is imported for it.

So a configuration is checked whole before any of it runs, and a wrong one is refused before torch
is there. Read are classes and dataclasses with their bases, functions, and the types of parameters
with the names that stand for types. A type that cannot be read is `Anything`.
"""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path

from nasrun.config.kinds import (
    Anything,
    ClassSignature,
    Either,
    Fixed,
    FunctionSignature,
    Instance,
    Keyed,
    Kind,
    Maker,
    Nothing,
    Null,
    Parameter,
    Scalar,
    Several,
    Signature,
    Words,
)

PACKAGE = Path(__file__).parents[1]
TYPES: dict[str, Kind] = {
    **{f"builtins.{type_.__name__}": Scalar(type_) for type_ in (bool, int, float, str)},
    "torch.Tensor": Nothing(),
}
LISTS = ("list", "List", "Sequence", "Iterable", "Collection", "MutableSequence")
MAPPINGS = ("dict", "Dict", "Mapping", "MutableMapping")
GENERIC = ("builtins", "typing", "typing_extensions", "collections.abc")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def signature(path: str) -> Signature | None:
    """That of the class or function of this path, `None` if its module does not define one.

    A package's `__init__.py` defines what it takes over from its own modules.
    """
    module_name, _, name = path.rpartition(".")
    module = module_of(module_name)
    if module is None:
        return None
    found = module.bound.get(name)
    if isinstance(found, str) and module.is_package and found.startswith(f"{module_name}."):
        return _signature(*defined) if (defined := _find(found)) else None
    return _signature(module, found) if isinstance(found, ast.AST) else None


def instance(path: str) -> Instance:
    """The kind of the objects of a class, which its path may name by way of another module."""
    found = _find(path)
    assert found is not None, path
    return Instance(found[0].path_of(found[1]))


def module_of(name: str) -> Module | None:
    """A module by its dotted name, `None` if there is no source of it."""
    top, *parts = name.split(".")
    if top == PACKAGE.name:
        folders = [PACKAGE]
    else:
        try:
            spec = find_spec(top)  # of a module within none, so this imports nothing
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
    """A module's source, parsed."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def is_package(self) -> bool:
        """Whether it is a package's own file."""
        return self.path.name == "__init__.py"

    @cached_property
    def bound(self) -> dict[str, ast.stmt | str]:
        """The names of the module: what defines them, or the path that they are imported from."""
        return dict(self._bindings(self.tree.body))

    def path_of(self, node: ast.stmt) -> str:
        """The dotted path of a class or a function of the module."""
        assert isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        return f"{self.name}.{node.name}"

    def resolve(self, node: ast.expr) -> str:
        """The dotted path that a name in the module's text stands for; empty for another text."""
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


def _find(path: str, hops: int = 9) -> tuple[Module, ast.stmt] | None:
    """What a dotted path stands for, through imports: the module that defines it, and the text."""
    module_name, _, name = path.rpartition(".")
    if not _is_read(module_name) or (module := module_of(module_name)) is None:
        return None
    found = module.bound.get(name)
    if isinstance(found, str):
        return _find(found, hops - 1) if hops and found != path else None
    return None if found is None else (module, found)


def _is_read(module: str) -> bool:
    """Whether to read a module for the types and bases that it defines."""
    top, _, rest = module.partition(".")
    if top == "torch":
        return rest.split(".")[0] == "optim"
    return bool(top) and top not in sys.stdlib_module_names


def _signature(module: Module, node: ast.stmt) -> Signature | None:
    if isinstance(node, ast.ClassDef):
        return _of_class(module, node)
    if isinstance(node, ast.FunctionDef):
        parameters, loose = _arguments(module, node)
        returned = _kind(node.returns, module) if node.returns else Anything()
        return FunctionSignature(module.path_of(node), parameters, loose, returned)
    return None


def _of_class(module: Module, node: ast.ClassDef) -> ClassSignature:
    line = list(_line(module, node))
    outside = {base for base, found in line if found is None}
    known = {"torch", "abc", "typing", "typing_extensions", "builtins", "enum", ""}
    unknown = any(base.split(".")[0] not in known for base in outside)
    read = [found for _, found in line if found is not None]
    parameters: dict[str, Parameter] = {}
    loose = unknown or any(base.startswith("torch.") for base in outside)
    loose = loose or any(one.decorator_list for _, one in read)  # one may make a constructor
    for home, one in read:
        inits = [f for f in one.body if isinstance(f, ast.FunctionDef) and f.name == "__init__"]
        if inits:
            parameters, loose = _arguments(home, inits[-1], bound=True)
            break
        if _is_dataclass(home, one):
            for ancestor, base in reversed(read):
                if _is_dataclass(ancestor, base):
                    parameters |= dict(_fields(ancestor, base))
            loose = unknown
            break
    bases = frozenset(base for base, _ in line)
    return ClassSignature(module.path_of(node), parameters, loose, bases, unknown)


def _line(
    module: Module, node: ast.ClassDef
) -> Iterator[tuple[str, tuple[Module, ast.ClassDef] | None]]:
    """A class and its bases, depth first; without a text those that are not read."""
    yield module.path_of(node), (module, node)
    for base in node.bases:
        named = base.value if isinstance(base, ast.Subscript) else base
        path = module.resolve(named)
        found = _find(path)
        if found is not None and isinstance(found[1], ast.ClassDef):
            yield from _line(found[0], found[1])
        else:
            yield path, None


def _called(module: Module, node: ast.expr) -> str:
    return module.resolve(node.func if isinstance(node, ast.Call) else node)


def _is_dataclass(module: Module, node: ast.ClassDef) -> bool:
    return "dataclasses.dataclass" in (_called(module, one) for one in node.decorator_list)


def _fields(module: Module, node: ast.ClassDef) -> Iterator[tuple[str, Parameter]]:
    """The fields of a dataclass that its constructor takes."""
    for line in node.body:
        if not isinstance(line, ast.AnnAssign) or not isinstance(line.target, ast.Name):
            continue
        outer = line.annotation
        if isinstance(outer, ast.Subscript):
            outer = outer.value
        if module.resolve(outer) in ("typing.ClassVar", "dataclasses.KW_ONLY"):
            continue
        settings = {}
        if isinstance(line.value, ast.Call) and _called(module, line.value).endswith(".field"):
            settings = {word.arg: word.value for word in line.value.keywords}
            if ast.unparse(settings.get("init", ast.Constant(True))) == "False":
                continue
            required = not {"default", "default_factory"} & settings.keys()
        else:
            required = line.value is None
        yield line.target.id, Parameter(_kind(line.annotation, module), required)


def _arguments(
    module: Module, node: Function, *, bound: bool = False
) -> tuple[dict[str, Parameter], bool]:
    """The parameters of a function, without `self` where it is bound, and whether it takes more."""
    found = node.args
    positional = [*found.posonlyargs, *found.args]
    defaults = [None] * (len(positional) - len(found.defaults)) + list(found.defaults)
    pairs = [*zip(positional, defaults, strict=True)][1 if bound else 0 :]
    pairs += zip(found.kwonlyargs, found.kw_defaults, strict=True)
    parameters = {
        argument.arg: Parameter(
            Anything() if argument.annotation is None else _kind(argument.annotation, module),
            default is None,
        )
        for argument, default in pairs
    }
    return parameters, found.kwarg is not None


def _kind(node: ast.expr, module: Module, depth: int = 20) -> Kind:
    """The kind of value that an annotation means."""
    if depth == 0:
        return Anything()
    if isinstance(node, ast.Constant):
        if node.value is None:
            return Null()
        try:  # a quoted annotation
            return _kind(ast.parse(str(node.value), mode="eval").body, module, depth - 1)
        except SyntaxError:
            return Anything()
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _either((node.left, node.right), module, depth)
    if isinstance(node, ast.Subscript):
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        return _of_parts(module.resolve(node.value), inner, module, depth)
    path = module.resolve(node)
    if path in TYPES:
        return TYPES[path]
    if _is_generic(path):
        return _of_parts(path, [], module, depth)
    found = _find(path)
    if found is None:
        return Instance(path) if path.startswith("torch.") else Anything()
    home, text = found
    if isinstance(text, ast.ClassDef):
        return Instance(home.path_of(text))
    if isinstance(text, ast.Assign | ast.AnnAssign) and text.value is not None:
        return _kind(text.value, home, depth - 1)
    return Anything()


def _of_parts(path: str, parts: list[ast.expr], module: Module, depth: int) -> Kind:
    """That of a generic type with its parameters, none where it stands alone."""
    name = path.rpartition(".")[2] if _is_generic(path) else ""
    if name == "Literal":
        return Words(tuple(part.value for part in parts if isinstance(part, ast.Constant)))
    if name == "Union":
        return _either(parts, module, depth)
    if name == "Optional":
        return _either([*parts, ast.Constant(None)], module, depth)
    if name in ("Annotated", "Final"):
        return _kind(parts[0], module, depth - 1) if parts else Anything()
    if name == "Callable":
        if len(parts) != 2:
            return Maker(None, Anything())
        given = parts[0].elts if isinstance(parts[0], ast.List) else None
        arguments = None if given is None else tuple(_kind(a, module, depth - 1) for a in given)
        return Maker(arguments, _kind(parts[1], module, depth - 1))
    kinds = [_kind(part, module, depth - 1) for part in parts]
    if name in ("tuple", "Tuple"):
        endless = not parts or ast.unparse(parts[-1]) == "..."
        return Several(_at(kinds, 0)) if endless else Fixed(tuple(kinds))
    if name in LISTS:
        return Several(_at(kinds, 0))
    if name in MAPPINGS:
        return Keyed(_at(kinds, 1))
    return Anything()


def _at(kinds: list[Kind], position: int) -> Kind:
    return kinds[position] if position < len(kinds) else Anything()


def _either(parts: Iterable[ast.expr], module: Module, depth: int) -> Kind:
    kinds: list[Kind] = []
    for part in parts:
        kind = _kind(part, module, depth - 1)
        kinds += kind.parts if isinstance(kind, Either) else (kind,)
    return Either(tuple(kinds))


def _is_generic(path: str) -> bool:
    return path.rpartition(".")[0] in GENERIC
