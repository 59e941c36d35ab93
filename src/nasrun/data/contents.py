"""The contents of a data set: the names and sizes of its files, wherever they are stored."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from nasrun.files import absolute
from nasrun.shown import some

WHEREABOUTS = ("root", "download", "workers")
"""Settings that say where a set is stored and how it is read; they change no image."""
NAMED = 3  # number of files of a kind that are named


@dataclass(frozen=True)
class Contents:
    """Sizes in bytes of the files of a set, by their names relative to its root."""

    files: Mapping[str, int]

    @cached_property
    def digest(self) -> str:
        """Digest of all names and sizes."""
        lines = (f"{self.files[name]} {name}\0" for name in sorted(self.files))
        return sha256("".join(lines).encode()).hexdigest()[:16]

    def changes(self, now: Contents) -> str:
        """Return how the set `now` differs, with the first files of each kind; empty if equal."""
        kinds = {
            "added": [name for name in sorted(now.files) if name not in self.files],
            "removed": [name for name in sorted(self.files) if name not in now.files],
            "changed": [
                name
                for name in sorted(self.files)
                if now.files.get(name, self.files[name]) != self.files[name]
            ],
        }
        return "; ".join(
            f"{len(names)} {kind} ({some(names, NAMED)})" for kind, names in kinds.items() if names
        )

    def to_bytes(self) -> bytes:
        """Return compressed JSON, with the same bytes for the same contents."""
        return gzip.compress(json.dumps(self.files, sort_keys=True).encode(), mtime=0)

    @classmethod
    def read(cls, path: Path) -> Contents:
        """Read the contents from a file; ValueError if it is damaged."""
        try:
            files = json.loads(gzip.decompress(path.read_bytes()))
            return cls({str(name): int(size) for name, size in files.items()})
        except (OSError, EOFError, zlib.error, ValueError, AttributeError, TypeError) as error:
            raise ValueError(f"{path}: unreadable ({type(error).__name__})") from error


def placed(dataset: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a data set with an absolute root."""
    root = dataset.get("root")
    return dataset if root is None else {**dataset, "root": absolute(root)}
