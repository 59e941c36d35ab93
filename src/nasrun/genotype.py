"""Decisions, and the genotype that answers each of them: the data that every part exchanges."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

SCHEMA = 1
NONE = "none"
"""The choice of an edge that is not there."""
SKIP = "skip_connect"
"""The choice that hands its input on."""


@dataclass(frozen=True)
class Decision:
    """One thing to choose, for example the operation of the edge `"normal/3-1"`."""

    name: str
    choices: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.choices or len(set(self.choices)) != len(self.choices):
            raise ValueError(f"decision {self.name}: choices={list(self.choices)} must be distinct")

    @property
    def group(self) -> str:
        """What the decision belongs to: the cell type of an edge, empty for a layer."""
        return self.name.rpartition("/")[0]

    @property
    def node(self) -> str:
        """The node that an edge enters: `normal/3` of `normal/3-1`; a layer is its own node."""
        return self.name.rpartition("-")[0] or self.name


@dataclass(frozen=True)
class AtMost:
    """A limit of a space: of these decisions at most `count` keep an operation."""

    decisions: tuple[str, ...]
    count: int

    @property
    def group(self) -> str:
        """What its decisions belong to."""
        return self.decisions[0].rpartition("/")[0]

    @property
    def node(self) -> str:
        """The node that its edges enter."""
        return self.decisions[0].rpartition("-")[0]


class Genotype(Mapping[str, str]):
    """An immutable answer to every decision of a space; a dropped edge is the choice `none`."""

    def __init__(self, space: str, choices: Mapping[str, str]) -> None:
        self.space = space
        self._choices = dict(choices)

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
        )

    def __hash__(self) -> int:
        return hash((self.space, tuple(sorted(self._choices.items()))))

    def __repr__(self) -> str:
        kept = {name: choice for name, choice in self.items() if choice != NONE}
        return f"Genotype({self.space!r}, {kept})"

    def to_json(self) -> dict[str, object]:
        """The plain form that `genotype.json` holds."""
        return {
            "schema": SCHEMA,
            "space": self.space,
            "decisions": fingerprint(sorted(self)),
            "choices": dict(self._choices),
        }

    @classmethod
    def from_json(cls, record: object) -> Genotype:
        """The genotype of a plain form; ValueError if it is none or of another schema."""
        if not isinstance(record, dict) or not isinstance(record.get("choices"), dict):
            raise ValueError("no genotype: expected an object with the keys schema, space, choices")
        if record.get("schema") != SCHEMA:
            raise ValueError(
                f"genotype schema={record.get('schema')!r}; this nasrun reads {SCHEMA}"
            )
        choices = record["choices"]
        if not all(isinstance(choice, str) for choice in choices.values()):
            raise ValueError("no genotype: every choice must be the name of an operation")
        return cls(str(record.get("space")), choices)

    @classmethod
    def read(cls, path: Path) -> Genotype:
        """The genotype in a JSON file; ValueError names the file and what is wrong with it."""
        try:
            return cls.from_json(json.loads(path.read_text()))
        except OSError as error:
            raise ValueError(f"genotype={path}: {error.strerror}") from error
        except (ValueError, UnicodeDecodeError) as error:
            raise ValueError(f"genotype={path}: {error}") from error


def fingerprint(content: object) -> str:
    """Twelve hexadecimal digits that differ when the JSON-like content does."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
