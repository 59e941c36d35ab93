"""Values that others wrote down: the literals of Python and JSON, in modules, logs and plain texts.

Nothing is executed: of names only constants are known, and of calls what makes a number or a list
(`range(2, 6)`, `np.float32(0.25)`). Any other call is kept as it stands, for the reader of a form.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DEEPEST = 20
"""Brackets in brackets; a genotype takes four."""
LONGEST = 1000
"""Numbers in a range."""
SHOWN = 40
"""Letters of a text that an error quotes."""

TOKEN = re.compile(
    r"""\s*(?:(?P<text>'[^'\\\n]*'|"[^"\\\n]*")
    |(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)
    |(?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)
    |(?P<mark>[()\[\]{},:=]))""",
    re.VERBOSE,
)
WORD = re.compile(r"\s*[A-Za-z_]\w*\s*=")
CLOSING = {"(": ")", "[": "]", "{": "}"}
CONSTANTS = {"None": None, "null": None, "True": True, "true": True, "False": False, "false": False}
NUMBERS = {"int", "float", "int32", "int64", "float16", "float32", "float64"}
COMMENT = re.compile(r"""('[^'\n]*'|"[^"\n]*")|#[^\n]*""")
QUOTED = re.compile(r"'{3}.*?'{3}|\"{3}.*?\"{3}", re.DOTALL)


class NotRead(ValueError):
    """A text that is no value, or none that is known."""


@dataclass(frozen=True)
class WrittenCall:
    """A call as it is written: `Genotype(normal=[...])`."""

    name: str
    arguments: tuple[Any, ...] = ()
    words: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """A value of a text with the name that it is assigned to, empty where it is to none."""

    name: str
    value: Any


def only(text: str, start: re.Pattern[str]) -> Any:
    """The one value that begins so; ValueError where there is none, or several that differ.

    What comments and docstrings hold counts only where nothing else is there.
    """
    for searched in (uncommented(text), text):
        if found := [match.start() for match in start.finditer(searched)]:
            break
    else:
        raise NotRead(f"{text.strip()[:SHOWN]!r} is none that is known")
    entries, errors = [], []
    for at in found:
        try:
            entries.append(Entry(_assigned(searched, at), value_at(searched, at)[0]))
        except NotRead as error:
            errors.append(error)
    if not entries:
        raise errors[0]
    if any(entry.value != entries[0].value for entry in entries):
        names = dict.fromkeys(entry.name for entry in entries if entry.name)
        if names:
            hint = f"give genotype=FILE:NAME, where NAME is {' or '.join(list(names)[:9])}"
        else:
            hint = "leave the one that is meant in the file"
        raise ValueError(f"{len(entries)} architectures are there; {hint}")
    return entries[0].value


def named(text: str, name: str, hops: int = 9) -> str:
    """The text of the value that is assigned to a name; of several the last, as in a program."""
    searched = uncommented(text)
    places = [m.end() for m in re.finditer(rf"\b{re.escape(name)}\s*=(?!=)\s*", searched)]
    if not places:
        names = dict.fromkeys(re.findall(r"^(\w+)\s*=(?!=)", searched, re.MULTILINE))
        there = f"; there are {', '.join(list(names)[:30])}" if names else ""
        raise ValueError(f"nothing is named {name} there{there}")
    alias = re.compile(r"(\w+)[^\S\n]*(?:\n|$)").match(searched, places[-1])
    if alias and hops and not alias[1].isdecimal():
        return named(text, alias[1], hops - 1)
    _, end = value_at(searched, places[-1])
    return searched[places[-1] : end]


def uncommented(text: str) -> str:
    """The text with blanks in place of comments and docstrings."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match[0])

    return COMMENT.sub(lambda match: match[1] or blank(match), QUOTED.sub(blank, text))


def value_at(text: str, at: int) -> tuple[Any, int]:
    """The value that begins there, and where it ends."""
    reader = _Reader(text, at)
    return reader.value(), reader.at


def _assigned(text: str, at: int) -> str:
    """The name before an equals sign before this place."""
    found = re.search(r"([A-Za-z_]\w*)\s*=\s*[\w.]*$", text[max(0, at - 200) : at])
    return found[1] if found else ""


class _Reader:
    """Reads one value after the other, from left to right."""

    def __init__(self, text: str, at: int) -> None:
        self.text, self.at = text, at

    def value(self, depth: int = 0) -> Any:
        kind, token = self._next()
        if depth > DEEPEST:
            raise NotRead("brackets are nested too deeply for an architecture")
        if kind == "text":
            return token[1:-1]
        if kind == "number":
            return _number(token)
        if token in CLOSING:
            return self._collection(token, depth)
        if kind == "name":
            return self._name(token, depth)
        raise self._error(token)

    def _collection(self, opening: str, depth: int) -> Any:
        if opening == "{":
            items = self._items(opening, depth, keyed=":")
            if not all(isinstance(key, str) for key, _ in items):
                raise self._error("{")
            return dict(items)
        start = self.at
        values = [value for _, value in self._items(opening, depth)]
        inside = self.text[start : self.at - 1].rstrip()
        if opening == "(" and len(values) == 1 and not inside.endswith(","):
            return values[0]
        return values if opening == "[" else tuple(values)

    def _name(self, name: str, depth: int) -> Any:
        if self._peek() != "(":
            if name in CONSTANTS:
                return CONSTANTS[name]
            raise self._error(name)
        self._next()
        items = self._items("(", depth, keyed="=")
        arguments = tuple(value for key, value in items if key is None)
        words = {key: value for key, value in items if key is not None}
        if len(arguments) + len(words) < len(items):
            raise NotRead(f"{name} is given a word twice")
        return _made(name, arguments, words)

    def _items(self, opening: str, depth: int, keyed: str = "") -> list[tuple[Any, Any]]:
        """What stands in brackets, with its keys where it has some."""
        items: list[tuple[Any, Any]] = []
        while self._peek() != CLOSING[opening]:
            key = None
            if keyed == "=" and WORD.match(self.text, self.at):
                key = self._next()[1]
            elif keyed == ":":
                key = self.value(depth + 1)
            if key is not None and self._next()[1] != keyed:
                raise self._error(keyed)
            items.append((key, self.value(depth + 1)))
            if self._peek() not in (",", CLOSING[opening]):
                raise self._error(self.text[self.at :].strip())
            if self._peek() == ",":
                self._next()
        self._next()
        return items

    def _next(self) -> tuple[str, str]:
        found = TOKEN.match(self.text, self.at)
        if found is None or found.lastgroup is None:
            raise self._error(self.text[self.at :].strip())
        self.at = found.end()
        return found.lastgroup, found[found.lastgroup]

    def _peek(self) -> str:
        found = TOKEN.match(self.text, self.at)
        return "" if found is None else found[0].strip()

    def _error(self, what: str) -> NotRead:
        if not what:
            return NotRead("it ends in the middle")
        return NotRead(f"{what[:SHOWN]!r} is not read, names, numbers and lists are")


def _number(token: str) -> int | float:
    if len(token) > SHOWN:
        raise NotRead(f"{token[:SHOWN]} is no number of an architecture")
    return int(token) if re.fullmatch(r"[-+]?\d+", token) else float(token)


def _made(name: str, arguments: tuple[Any, ...], words: Mapping[str, Any]) -> Any:
    """What a call of a known function makes, else the call."""
    short = name.rpartition(".")[2]
    if words:
        return WrittenCall(name, arguments, dict(words))
    if short == "range" and all(type(number) is int for number in arguments):
        try:
            numbers = range(*arguments)
        except (TypeError, ValueError) as error:
            raise NotRead(f"range{arguments}: {error}") from error
        if len(numbers) > LONGEST:
            raise NotRead(f"range{arguments} is too long")
        return list(numbers)
    if (
        short in ("list", "tuple")
        and len(arguments) == 1
        and isinstance(arguments[0], list | tuple)
    ):
        return list(arguments[0])
    if short in NUMBERS and len(arguments) == 1 and isinstance(arguments[0], int | float):
        return arguments[0]
    return WrittenCall(name, arguments)
