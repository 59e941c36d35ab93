"""What a constructor takes: its parameters, and which values of a configuration each can be.

The values are those of a YAML file, and calls: nodes with a `_target_`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

OURS = ("nasrun", "torch")
"""The packages that are always admitted, so that every call of theirs needs a type to fit."""


class Kind(ABC):
    """What a value has to be."""

    @abstractmethod
    def admits(self, value: Any) -> bool:
        """Whether a value can be meant for it."""

    @property
    @abstractmethod
    def words(self) -> str:
        """The kind in a user's words."""


@dataclass(frozen=True)
class Anything(Kind):
    """A parameter whose type is not known: any value, and calls of a user's own classes."""

    def admits(self, value: Any) -> bool:
        calls = calls_in(value)
        return all(call.path.split(".")[0] not in OURS and call.is_object for call in calls)

    @property
    def words(self) -> str:
        return "a value; a `_target_` needs a parameter with a type"


@dataclass(frozen=True)
class Nothing(Kind):
    """What no configuration can give: a tensor."""

    def admits(self, value: Any) -> bool:
        return False

    @property
    def words(self) -> str:
        return "what no configuration can give"


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
    """A value of a plain type; a whole number is a number too, true and false are none."""

    type: type

    def admits(self, value: Any) -> bool:
        if isinstance(value, bool):
            return self.type is bool
        return isinstance(value, int | float if self.type is float else self.type)

    @property
    def words(self) -> str:
        names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
        return names[self.type]


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
        return " or ".join(part.words for part in self.parts if part != Nothing())


@dataclass(frozen=True)
class Several(Kind):
    """A list of any length, each item of one kind."""

    item: Kind

    def admits(self, value: Any) -> bool:
        return isinstance(value, list) and all(map(self.item.admits, value))

    @property
    def words(self) -> str:
        return f"a list of {self.item.words}"


@dataclass(frozen=True)
class Fixed(Kind):
    """A list with a kind for each place."""

    items: tuple[Kind, ...]

    def admits(self, value: Any) -> bool:
        if not isinstance(value, list) or len(value) != len(self.items):
            return False
        return all(kind.admits(item) for kind, item in zip(self.items, value, strict=True))

    @property
    def words(self) -> str:
        return f"a list of {len(self.items)} {self.items[0].words}" if self.items else "[]"


@dataclass(frozen=True)
class Keyed(Kind):
    """Keys, each with a value of one kind."""

    value: Kind

    def admits(self, value: Any) -> bool:
        return isinstance(value, Mapping) and all(map(self.value.admits, value.values()))

    @property
    def words(self) -> str:
        return f"keys, each with {self.value.words}"


@dataclass(frozen=True)
class Instance(Kind):
    """An object of a class, by the path where the class is defined."""

    path: str

    def admits(self, value: Any) -> bool:
        return isinstance(value, Call) and value.is_object and value.signature.derives(self)

    @property
    def words(self) -> str:
        return self.path.rpartition(".")[2]


@dataclass(frozen=True)
class Maker(Kind):
    """Something to be called later with these arguments, `None` for any, that returns a kind."""

    arguments: tuple[Kind, ...] | None
    returned: Kind

    def admits(self, value: Any) -> bool:
        return isinstance(value, Call) and value.partial and value.signature.makes(self, value)

    @property
    def words(self) -> str:
        return f"what makes {self.returned.words}: a `_target_` with `_partial_: true`"


@dataclass(frozen=True)
class Parameter:
    """A keyword of a constructor or a function."""

    kind: Kind
    required: bool


@dataclass(frozen=True)
class Signature(ABC):
    """What can be called, where it is defined, and what it takes; `loose`: other keywords too."""

    path: str
    parameters: Mapping[str, Parameter]
    loose: bool

    @abstractmethod
    def derives(self, base: Instance) -> bool:
        """Whether a call of it is an object of this class."""

    @abstractmethod
    def makes(self, kind: Maker, call: Call) -> bool:
        """Whether it can be called later, with what the caller gives besides."""


@dataclass(frozen=True)
class ClassSignature(Signature):
    """A class with the paths of all its bases, itself included; `unknown`: and others perhaps."""

    bases: frozenset[str]
    unknown: bool

    def derives(self, base: Instance) -> bool:
        return base.path in self.bases or self.unknown

    def makes(self, kind: Maker, call: Call) -> bool:
        return isinstance(kind.returned, Instance) and self.derives(kind.returned)


@dataclass(frozen=True)
class FunctionSignature(Signature):
    """A function; its annotations say what it is for."""

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
    """A node with a `_target_`: what it calls, and the values that it gives.

    key: where it stands. target: the path in the node. partial: it is to be called later.
    """

    key: str
    target: str
    signature: Signature
    partial: bool
    given: Mapping[str, Any]

    @property
    def path(self) -> str:
        """Where the target is defined."""
        return self.signature.path

    @property
    def is_object(self) -> bool:
        """Whether it makes an object of a class at once."""
        return isinstance(self.signature, ClassSignature) and not self.partial


def calls_in(value: Any) -> Iterator[Call]:
    """The calls in a value, those within lists and keys included, not those within calls."""
    if isinstance(value, Call):
        yield value
    elif isinstance(value, Mapping):
        for child in value.values():
            yield from calls_in(child)
    elif isinstance(value, list):
        for child in value:
            yield from calls_in(child)
