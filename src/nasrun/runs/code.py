"""The source code that results come from: a digest per package, and which of it has changed."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType

Code = Mapping[str, Sequence[str]]
"""Digests of the code that a stage has run with, by package; the last one is the newest."""


def digests(trusted: Sequence[str]) -> dict[str, str]:
    """Return the digest of nasrun's Python files, and of those of every trusted package.

    The packages are imported already. One without files, such as a built-in one, has none.
    """
    found = {}
    for name in dict.fromkeys(("nasrun", *(each.partition(".")[0] for each in trusted))):
        total = hashlib.sha256()
        for place, path in sorted(_sources(sys.modules[name])):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            total.update(f"{place} {content}\n".encode())
        found[name] = total.hexdigest()
    return found


def continued(known: Code, now: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the digests of the code so far, with those of the code that goes on."""
    found = {name: list(each) for name, each in known.items()}
    for name, digest in now.items():
        if found.setdefault(name, [])[-1:] != [digest]:
            found[name].append(digest)
    return found


def changed(known: Code, now: Mapping[str, str]) -> list[str]:
    """Return the packages whose code is not the newest that is known of them."""
    return [n for n, digest in now.items() if known.get(n) and known[n][-1] != digest]


def _sources(module: ModuleType) -> Iterator[tuple[str, Path]]:
    """Yield the Python files of a package or module, each with its place below it.

    Hidden ones are none of it: an editor may keep a link to nowhere beside a file that it changes.
    """
    for folder in getattr(module, "__path__", ()):
        for path in Path(folder).rglob("*.py"):
            place = path.relative_to(folder)
            if path.is_file() and not any(part.startswith(".") for part in place.parts):
                yield place.as_posix(), path
    if not hasattr(module, "__path__") and (file := getattr(module, "__file__", None)):
        yield Path(file).name, Path(file)
