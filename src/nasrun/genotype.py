"""Decisions and genotypes: the data that all parts of nasrun exchange."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCHEMAS = (1, 2)
"""A genotype is written in the first schema that can hold it, so that an older nasrun refuses only
what it cannot read; the second schema has `concat`."""
LARGEST = 2**20
"""Largest file in bytes; a genotype needs thousands, a file of a hundred tens of thousands."""
NONE = "none"
"""The choice of an edge that is absent."""
SKIP = "skip_connect"
"""The choice that returns its input."""


@dataclass(frozen=True)
class Decision:
    """One thing to choose, for example the operation of the edge `"normal/3-1"`."""

    name: str
    choices: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.choices or len(set(self.choices)) != len(self.choices):
            raise ValueError(
                f"decision {self.name} has the choices {list(self.choices)}: give one or more, "
                "each once"
            )

    @property
    def group(self) -> str:
        """The cell type of an edge; empty for a layer."""
        return self.name.rpartition("/")[0]

    @property
    def node(self) -> str:
        """The node that an edge enters: `normal/3` for `normal/3-1`; a layer is its own node."""
        return self.name.rpartition("-")[0] or self.name


@dataclass(frozen=True)
class AtMost:
    """A limit of a space: at most `count` of these decisions keep an operation."""

    decisions: tuple[str, ...]
    count: int

    @property
    def group(self) -> str:
        """The cell type of its decisions."""
        return self.decisions[0].rpartition("/")[0]

    @property
    def node(self) -> str:
        """The node that its edges enter."""
        return self.decisions[0].rpartition("-")[0]


class Genotype(Mapping[str, str]):
    """An immutable choice for every decision of a space; a dropped edge is the choice `none`.

    `concat` lists the nodes that the output of a cell joins, for cell types that do not join all of
    them (`normal_concat` of 1806.09055: ascending numbers >= 2).
    """

    def __init__(
        self,
        space: str,
        choices: Mapping[str, str],
        concat: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        self.space = space
        self._choices = dict(choices)
        self._concat = {cell: tuple(sorted(nodes)) for cell, nodes in (concat or {}).items()}

    @property
    def concat(self) -> dict[str, tuple[int, ...]]:
        """Joined nodes of the cell types that do not join all."""
        return dict(self._concat)

    def changed(self, choices: Mapping[str, str]) -> Genotype:
        """Return a copy with other choices for some decisions."""
        return Genotype(self.space, {**self._choices, **choices}, self._concat)

    def __getitem__(self, decision: str) -> str:
        return self._choices[decision]

    def __iter__(self) -> Iterator[str]:
        return iter(self._choices)

    def __len__(self) -> int:
        return len(self._choices)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Genotype)
            and self.space == other.space
            and self._choices == other._choices
            and self._concat == other._concat
        )

    def __hash__(self) -> int:
        parts = (tuple(sorted(part.items())) for part in (self._choices, self._concat))
        return hash((self.space, *parts))

    def __repr__(self) -> str:
        kept = {name: choice for name, choice in self.items() if choice != NONE}
        joined = f", concat={self._concat}" if self._concat else ""
        return f"Genotype({self.space!r}, {kept}{joined})"

    def to_json(self) -> dict[str, object]:
        """Return the plain form for `genotype.json`."""
        joined = {cell: list(nodes) for cell, nodes in self._concat.items()}
        return {
            "schema": SCHEMAS[1 if joined else 0],
            "space": self.space,
            "decisions": fingerprint(sorted(self)),
            "choices": dict(self._choices),
            **({"concat": joined} if joined else {}),
        }

    @classmethod
    def from_json(cls, record: object) -> Genotype:
        """Return the genotype from its plain form; ValueError if it is invalid."""
        if not isinstance(record, dict) or not isinstance(record.get("choices"), dict):
            raise ValueError(
                "not a genotype: give an object with the keys schema, space and choices"
            )
        record = unsealed(record)
        schema, concat = record.get("schema"), record.get("concat", {})
        if schema not in SCHEMAS or isinstance(schema, bool):
            known = " and ".join(map(str, SCHEMAS))
            raise ValueError(
                f"genotype schema={schema!r}: this nasrun version reads {known}; give one of them"
            )
        if not isinstance(record.get("space"), str):
            raise ValueError(
                f"not a genotype: space={record.get('space')!r}; give the space's name"
            )
        choices = record["choices"]
        if not all(isinstance(choice, str) for choice in choices.values()):
            raise ValueError("not a genotype: give the name of an operation as every choice")
        if "concat" in record and schema == SCHEMAS[0]:
            raise ValueError(f"genotype schema={schema} has no concat; give schema={SCHEMAS[1]}")
        if not isinstance(concat, dict) or not all(map(_are_nodes, concat.values())):
            raise ValueError(f"genotype concat={concat!r}; give a list of nodes per cell type")
        return cls(record["space"], choices, concat)

    @classmethod
    def read(cls, path: Path) -> Genotype:
        """Read a genotype from a JSON file; ValueError says what is wrong with the file."""
        try:
            return cls.from_json(from_text(read_text(path)))
        except ValueError as error:
            raise ValueError(f"genotype={path}: {error}") from error


class Misfit(ValueError):
    """A genotype that does not fit a space, for this `reason`; with these `settings` it would."""

    def __init__(self, reason: str, settings: Mapping[str, object]) -> None:
        super().__init__(reason, settings)
        self.reason = reason
        self.settings = dict(settings)

    def __str__(self) -> str:
        typed = (f"space.{key}={value}".replace(" ", "") for key, value in self.settings.items())
        return f"{self.reason}; set {' '.join(typed)}"


def _are_nodes(value: object) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(type(node) is int for node in value)
        and len(set(value)) == len(value)
    )


def read_text(path: Path) -> str:
    """Read a small text file in UTF-8, or UTF-16 with a byte order mark; else ValueError."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise ValueError(f"larger than {LARGEST:,} bytes; leave only the genotype in it")
        marked = content.startswith((b"\xff\xfe", b"\xfe\xff"))  # PowerShell's > writes UTF-16
        return content.decode("utf-16" if marked else "utf-8-sig")
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise ValueError(f"not a text ({error.reason}); save it as UTF-8") from error


def from_text(text: str) -> object:
    """Parse a JSON text; ValueError if it is invalid or nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply for a genotype") from error


def fingerprint(content: object) -> str:
    """Return twelve hexadecimal digits that differ if the JSON-like content differs."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


CHECK = "check"
"""The key of a record that holds the fingerprint of all others."""


def sealed(record: Mapping[str, object]) -> dict[str, object]:
    """Return a record with its fingerprint in front, so that damage is noticed."""
    return {CHECK: fingerprint(record), **record}


def unsealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record without its fingerprint, if any; ValueError if the fingerprint is wrong."""
    first = next(iter(record), CHECK)
    name = CHECK if CHECK in record else first  # the word itself may be damaged
    content = {key: value for key, value in record.items() if key != name}
    fits = record.get(name) == fingerprint(content)
    if CHECK in record and fits:
        return content
    if CHECK in record or fits:
        raise ValueError(
            f"damaged, {name}={record[name]} does not fit it; put back what was written, or take "
            f"{CHECK} out if you changed it yourself"
        )
    return dict(record)
