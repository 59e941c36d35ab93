"""The signatures of classes and functions, read from their sources without an import.

So all of a configuration is checked before any of it runs, and a wrong one is refused before torch
is imported. This reads classes and dataclasses with their bases, functions, and the types of their
parameters, aliases of types included. A type that cannot be read is `Anything`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache

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
from nasrun.config.sources import Module, find, module_of

TYPES: dict[str, Kind] = {
    **{f"builtins.{type_.__name__}": Scalar(type_) for type_ in (bool, int, float, str)},
    "torch.Tensor": Nothing(),
}
LISTS = ("list", "List", "Sequence", "Iterable", "Collection", "MutableSequence")
MAPPINGS = ("dict", "Dict", "Mapping", "MutableMapping")
GENERIC = ("builtins", "typing", "typing_extensions", "collections.abc")
STAY = ("nasrun.", "torch.")
"""Packages whose sources stay as they are while a command runs; a user's may be written then."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


def signature(path: str) -> Signature | None:
    """Return the signature of a class or function, `None` if its module does not define it.

    What the `__init__.py` of a package imports from its own modules counts as defined there.
    """
    return _signature_that_stays(path) if path.startswith(STAY) else _signature_now(path)


@cache
def _signature_that_stays(path: str) -> Signature | None:
    return _signature_now(path)


def _signature_now(path: str) -> Signature | None:
    module_name, _, name = path.rpartition(".")
    module = module_of(module_name)
    if module is None:
        return None
    found = module.bound.get(name)
    if isinstance(found, str) and module.is_package and found.startswith(f"{module_name}."):
        return _signature(*defined) if (defined := find(found)) else None
    return _signature(module, found) if isinstance(found, ast.AST) else None


@cache
def instance(path: str) -> Instance:
    """Return the kind of the objects of a class; its path may name a module that imports it."""
    found = find(path)
    assert found is not None, path
    return Instance(found[0].path_of(found[1]))


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
    """Yield a class and its bases, depth first, each with its source, `None` if it is not read."""
    yield module.path_of(node), (module, node)
    for base in node.bases:
        named = base.value if isinstance(base, ast.Subscript) else base
        path = module.resolve(named)
        found = find(path)
        if found is not None and isinstance(found[1], ast.ClassDef):
            yield from _line(found[0], found[1])
        else:
            yield path, None


def _called(module: Module, node: ast.expr) -> str:
    return module.resolve(node.func if isinstance(node, ast.Call) else node)


def _is_dataclass(module: Module, node: ast.ClassDef) -> bool:
    return "dataclasses.dataclass" in (_called(module, one) for one in node.decorator_list)


def _fields(module: Module, node: ast.ClassDef) -> Iterator[tuple[str, Parameter]]:
    """Yield the fields of a dataclass that its constructor takes."""
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
    """Return a function's parameters, without `self` if `bound`, and whether it has `**kwargs`."""
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
    """Return the kind of values that an annotation admits."""
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
    found = find(path)
    if found is None:
        return Instance(path) if path.startswith("torch.") else Anything()
    home, text = found
    if isinstance(text, ast.ClassDef):
        return Instance(home.path_of(text))
    if isinstance(text, ast.Assign | ast.AnnAssign) and text.value is not None:
        return _kind(text.value, home, depth - 1)
    return Anything()


def _of_parts(path: str, parts: list[ast.expr], module: Module, depth: int) -> Kind:
    """Return the kind of a generic type with these parameters, which may be none."""
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
