"""Parameters of constructors, and the kinds of values that they accept.

Values are those of a YAML file, and calls: nodes with a `_target_`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

OURS = ("nasrun", "torch")
"""Packages that are always trusted; calls of them are accepted only where a type is known."""


class Kind(ABC):
    """A kind of values."""

    @abstractmethod
    def admits(self, value: Any) -> bool:
        """Return whether a value is of this kind."""

    @property
    @abstractmethod
    def words(self) -> str:
        """Description of the kind, for messages."""

    @property
    def items(self) -> str:
        """Description of several values: whole numbers; items, each a whole number or null."""
        return f"items, each {self.words}"


@dataclass(frozen=True)
class Anything(Kind):
    """Any value, and calls of a user's own classes, for a parameter of unknown type."""

    def admits(self, value: Any) -> bool:
        calls = calls_in(value)
        return all(call.path.split(".")[0] not in OURS and call.is_object for call in calls)

    @property
    def words(self) -> str:
        return "a value; a `_target_` needs a parameter with a type"


@dataclass(frozen=True)
class Nothing(Kind):
    """No value, for a parameter that a configuration cannot give, such as a tensor."""

    def admits(self, value: Any) -> bool:
        return False

    @property
    def words(self) -> str:
        return "an object that no configuration can describe; leave the key out"


@dataclass(frozen=True)
class Null(Kind):
    """`null`, which is `None`."""

    def admits(self, value: Any) -> bool:
        return value is None

    @property
    def words(self) -> str:
        return "null"


@dataclass(frozen=True)
class Scalar(Kind):
    """A value of a plain type; an integer is a number, too, but true and false are not."""

    type: type

    def admits(self, value: Any) -> bool:
        if isinstance(value, bool):
            return self.type is bool
        return isinstance(value, int | float if self.type is float else self.type)

    @property
    def words(self) -> str:
        names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
        return names[self.type]

    @property
    def items(self) -> str:
        names = {int: "whole numbers", float: "numbers", str: "texts"}
        return names[self.type] if self.type in names else super().items


@dataclass(frozen=True)
class Words(Kind):
    """One of a few values."""

    known: tuple[Any, ...]

    def admits(self, value: Any) -> bool:
        return any(value == one and type(value) is type(one) for one in self.known)

    @property
    def words(self) -> str:
        return " or ".join(map(str, self.known))


@dataclass(frozen=True)
class Either(Kind):
    """One of several kinds."""

    parts: tuple[Kind, ...]

    def admits(self, value: Any) -> bool:
        return any(part.admits(value) for part in self.parts)

    @property
    def words(self) -> str:
        known = [part for part in self.parts if part != Nothing()]
        lists = any(isinstance(part, Several | Fixed | Keyed) for part in known)
        return (", or " if lists else " or ").join(part.words for part in known)


@dataclass(frozen=True)
class Several(Kind):
    """A list of any length, with items of one kind."""

    item: Kind

    def admits(self, value: Any) -> bool:
        return isinstance(value, list) and all(map(self.item.admits, value))

    @property
    def words(self) -> str:
        return f"a list of {self.item.items}"


@dataclass(frozen=True)
class Fixed(Kind):
    """A list with a kind for each position."""

    kinds: tuple[Kind, ...]

    def admits(self, value: Any) -> bool:
        if not isinstance(value, list) or len(value) != len(self.kinds):
            return False
        return all(kind.admits(item) for kind, item in zip(self.kinds, value, strict=True))

    @property
    def words(self) -> str:
        if not self.kinds:
            return "[]"
        if len({*self.kinds}) == 1:
            return f"a list of {len(self.kinds)} {self.kinds[0].items}"
        return f"a list of {len(self.kinds)} items: {', '.join(each.words for each in self.kinds)}"


@dataclass(frozen=True)
class Keyed(Kind):
    """A mapping with values of one kind."""

    value: Kind

    def admits(self, value: Any) -> bool:
        return isinstance(value, Mapping) and all(map(self.value.admits, value.values()))

    @property
    def words(self) -> str:
        return f"keys, each with {self.value.words}"


@dataclass(frozen=True)
class Instance(Kind):
    """An object of a class, given by the path of its definition."""

    path: str

    def admits(self, value: Any) -> bool:
        return isinstance(value, Call) and value.is_object and value.signature.derives(self)

    @property
    def words(self) -> str:
        return self.path.rpartition(".")[2]


@dataclass(frozen=True)
class Maker(Kind):
    """A callable with these arguments (`None` for any) that returns a kind."""

    arguments: tuple[Kind, ...] | None
    returned: Kind

    def admits(self, value: Any) -> bool:
        return isinstance(value, Call) and value.partial and value.signature.makes(self, value)

    @property
    def words(self) -> str:
        return f"a factory of {self.returned.words}: a `_target_` with `_partial_: true`"


@dataclass(frozen=True)
class Parameter:
    """A keyword of a constructor or a function."""

    kind: Kind
    required: bool


@dataclass(frozen=True)
class Signature(ABC):
    """A callable: where it is defined, and its parameters; if `loose`, it takes others, too."""

    path: str
    parameters: Mapping[str, Parameter]
    loose: bool

    @abstractmethod
    def derives(self, base: Instance) -> bool:
        """Return whether its result is an object of this class."""

    @abstractmethod
    def makes(self, kind: Maker, call: Call) -> bool:
        """Return whether it can be called later with the arguments of `kind`."""


@dataclass(frozen=True)
class ClassSignature(Signature):
    """A class with the paths of all its bases and itself; `unknown` if there may be others."""

    bases: frozenset[str]
    unknown: bool

    def derives(self, base: Instance) -> bool:
        return base.path in self.bases or self.unknown

    def makes(self, kind: Maker, call: Call) -> bool:
        return isinstance(kind.returned, Instance) and self.derives(kind.returned)


@dataclass(frozen=True)
class FunctionSignature(Signature):
    """A function with its annotations."""

    returned: Kind

    def derives(self, base: Instance) -> bool:
        return False

    def makes(self, kind: Maker, call: Call) -> bool:
        if self.returned not in (kind.returned, Anything()):
            return False
        names = list(self.parameters)
        count = 0 if kind.arguments is None else len(kind.arguments)
        if len(names) < count or set(names[:count]) & set(call.given):
            return False
        taken = [self.parameters[name].kind for name in names[:count]]
        return all(
            ours in (theirs, Anything())
            for ours, theirs in zip(taken, kind.arguments or (), strict=True)
        ) and all(name in call.given for name in names[count:] if self.parameters[name].required)


@dataclass(frozen=True)
class Call:
    """A node with a `_target_`: the callable, and the values given to it.

    key: its place in the configuration. target: the path in the node. partial: it is called later.
    """

    key: str
    target: str
    signature: Signature
    partial: bool
    given: Mapping[str, Any]

    @property
    def path(self) -> str:
        """Path where the target is defined."""
        return self.signature.path

    @property
    def is_object(self) -> bool:
        """Return whether the call makes an object of a class at once."""
        return isinstance(self.signature, ClassSignature) and not self.partial


def calls_in(value: Any) -> Iterator[Call]:
    """Yield the calls in a value, also in lists and mappings, but not those in calls."""
    if isinstance(value, Call):
        yield value
    elif isinstance(value, Mapping):
        for child in value.values():
            yield from calls_in(child)
    elif isinstance(value, list):
        for child in value:
            yield from calls_in(child)
