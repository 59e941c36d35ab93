"""A parser of Python and JSON literals in modules, logs and plain texts.

Nothing is executed: the only known names are constants, the only known calls make a number, a text
or a list (`range(2, 6)`, `np.float32(0.25)`, `np.str_('none')`). Other calls are kept as a
`WrittenCall`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DEEPEST = 20
"""Largest nesting of brackets; a genotype needs four."""
LONGEST = 1000
"""Largest number of items of a range."""
SHOWN = 40
"""Number of characters of a text that an error quotes."""

TOKEN = re.compile(
    r"""\s*(?:(?P<text>'[^'\\\n]*'|"[^"\\\n]*")
    |(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)
    |(?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)
    |(?P<mark>[()\[\]{},:=]))""",
    re.VERBOSE,
)
WORD = re.compile(r"\s*[A-Za-z_]\w*\s*=")
TYPED = r"(?:\s*:\s*[\w.]+)?"
"""A type behind the name that a value is assigned to."""
CLOSING = {"(": ")", "[": "]", "{": "}"}
CONSTANTS = {"None": None, "null": None, "True": True, "true": True, "False": False, "false": False}
NUMBERS = {"int", "float", "int32", "int64", "float16", "float32", "float64", "tensor"}
COMMENT = re.compile(r"""('[^'\n]*'|"[^"\n]*")|#[^\n]*""")
QUOTED = re.compile(r"'{3}.*?'{3}|\"{3}.*?\"{3}", re.DOTALL)


class NotRead(ValueError):
    """The text is not a value, or not of a known notation."""


@dataclass(frozen=True)
class WrittenCall:
    """A call as it is written: `Genotype(normal=[...])`."""

    name: str
    arguments: tuple[Any, ...] = ()
    words: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """A value with the name that it is assigned to, or an empty name."""

    name: str
    value: Any


def only(text: str, start: re.Pattern[str]) -> Any:
    """Return the one value that begins with `start`; ValueError if none or several different ones.

    Comments and docstrings are searched only if nothing is found elsewhere. Of a value inside of
    another one, the inner one counts.
    """
    for searched in (uncommented(text), text):
        if found := [match.start() for match in start.finditer(searched)]:
            break
    else:
        raise NotRead(f"{text.strip()[:SHOWN]!r} has no known notation")
    entries: list[Entry] = []
    errors: list[NotRead] = []
    inner = len(searched)
    for at in reversed(found):
        try:
            value, end = value_at(searched, at)
        except NotRead as error:
            errors.insert(0, error)
            continue
        if end <= inner:
            entries.insert(0, Entry(_assigned(searched, at), value))
            inner = at
    if not entries:
        raise errors[0]
    if any(entry.value != entries[0].value for entry in entries):
        names = dict.fromkeys(entry.name for entry in entries if entry.name)
        if names:
            hint = f"give genotype=FILE:NAME, where NAME is {' or '.join(list(names)[:9])}"
        else:
            hint = "leave only one in the file"
        raise ValueError(f"found {len(entries)} architectures; {hint}")
    return entries[0].value


def named(text: str, name: str, hops: int = 9) -> str:
    """Return the text of the value assigned to `name`; the last one if there are several."""
    searched = uncommented(text)
    places = [m.end() for m in re.finditer(rf"\b{re.escape(name)}{TYPED}\s*=(?!=)\s*", searched)]
    if not places:
        names = dict.fromkeys(re.findall(rf"^(\w+){TYPED}\s*=(?!=)", searched, re.MULTILINE))
        known = f"; use one of {', '.join(list(names)[:30])}" if names else ""
        raise ValueError(f"nothing in it is named {name}{known}")
    alias = re.compile(r"(\w+)[^\S\n]*(?:\n|$)").match(searched, places[-1])
    if alias and hops and not alias[1].isdecimal():
        return named(text, alias[1], hops - 1)
    _, end = value_at(searched, places[-1])
    return searched[places[-1] : end]


def uncommented(text: str) -> str:
    """Return the text with comments and docstrings replaced by blanks."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match[0])

    return COMMENT.sub(lambda match: match[1] or blank(match), QUOTED.sub(blank, text))


def value_at(text: str, at: int) -> tuple[Any, int]:
    """Return the value that begins at position `at`, and its end."""
    reader = _Reader(text, at)
    return reader.value(), reader.at


def _assigned(text: str, at: int) -> str:
    """Return the name to which the value at position `at` is assigned, or an empty text."""
    found = re.search(r"([A-Za-z_]\w*)\s*=\s*[\w.]*$", text[max(0, at - 200) : at])
    return found[1] if found else ""


class _Reader:
    """Parses values one after the other, from left to right."""

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
            raise NotRead(f"{name} has the same argument twice")
        return _made(name, arguments, words)

    def _items(self, opening: str, depth: int, keyed: str = "") -> list[tuple[Any, Any]]:
        """Parse the items in brackets as (key, value) pairs; a key may be `None`."""
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
            return NotRead("the text ends too early")
        return NotRead(f"{what[:SHOWN]!r} is not a name, number or list")


def _number(token: str) -> int | float:
    if len(token) > SHOWN:
        raise NotRead(f"{token[:SHOWN]} is too long for a number")
    return int(token) if re.fullmatch(r"[-+]?\d+", token) else float(token)


def _made(name: str, arguments: tuple[Any, ...], words: Mapping[str, Any]) -> Any:
    """Return the value of a call of a known function, else a `WrittenCall`."""
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
    if short in ("str", "str_") and len(arguments) == 1 and isinstance(arguments[0], str):
        return arguments[0]
    if short in NUMBERS and len(arguments) == 1 and isinstance(arguments[0], int | float):
        return arguments[0]
    return WrittenCall(name, arguments)
