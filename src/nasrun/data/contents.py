"""What is in a data set: the files that it is made of, wherever they lie."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from nasrun.shown import some

WHEREABOUTS = ("root", "download", "workers")
"""Settings that say where a set lies and who reads it: they change no image."""
NAMED = 3  # so many files of a kind are named


@dataclass(frozen=True)
class Contents:
    """Sizes in bytes of the files of a set, by their names relative to its root."""

    files: Mapping[str, int]

    @cached_property
    def digest(self) -> str:
        """The same for the same names and sizes only."""
        lines = (f"{self.files[name]} {name}\0" for name in sorted(self.files))
        return sha256("".join(lines).encode()).hexdigest()[:16]

    def changes(self, now: Contents) -> str:
        """How another set differs, empty if it does not: the first files of each kind by name."""
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
        """As they are written: compressed JSON, the same bytes for the same contents."""
        return gzip.compress(json.dumps(self.files, sort_keys=True).encode(), mtime=0)

    @classmethod
    def read(cls, path: Path) -> Contents:
        """The contents in a file; ValueError if it is damaged."""
        try:
            files = json.loads(gzip.decompress(path.read_bytes()))
            return cls({str(name): int(size) for name, size in files.items()})
        except (OSError, EOFError, zlib.error, ValueError, AttributeError, TypeError) as error:
            raise ValueError(f"{path}: unreadable ({type(error).__name__})") from error
