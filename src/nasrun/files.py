"""Files that are complete or absent, even after a kill or a power failure.

Every file of a run is written under a unique name, opened exclusively, flushed to the disk and
renamed; then its folder is flushed. No link is followed, and a failed write leaves nothing.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import yaml

from nasrun.genotype import sealed, unsealed

DRAFT = ".part"
"""Suffix of unfinished files."""
OURS = re.compile(
    rf"\..+\.[0-9a-f]{{32}}{re.escape(DRAFT)}"  # current names, then those of earlier versions
    r"|(state|\d{2}(\.child)?|.+\.(json|jsonl|yaml|png|svg))\.tmp"
)
"""Names of unfinished files."""
LARGEST = 2**26
"""Largest size in bytes of a JSON or YAML file that is read."""
MOST = 10**6
"""Largest number of values in it: aliases in YAML can stand for far more than its bytes."""
DEEPEST = 100
"""Largest nesting of its values."""
Types = Mapping[str, type | tuple[type, ...]]
"""Types of the values of some keys of a record, if it has these keys."""


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> str:
    """Let `write` fill a new file, replace `path` by it, and return the SHA-256 of its content.

    Raises ValueError with the path if the disk is full.
    """
    with drafted(path) as (draft, file):
        counted = Hashed(file)
        write(counted)  # type: ignore[arg-type]  # only its `write` is used
        file.flush()
        os.fsync(file.fileno())
        os.replace(draft, path)
        flush(path.parent)
    return counted.digest.hexdigest()


@contextmanager
def drafted(path: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """Open a new file beside `path` for writing; it is deleted if the context fails."""
    draft = path.with_name(f".{path.name}.{uuid4().hex}{DRAFT}")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(draft, flags | getattr(os, "O_BINARY", 0), 0o666)
        with os.fdopen(descriptor, "wb") as file:
            yield draft, file
    except BaseException as error:
        with suppress(OSError):
            draft.unlink()
        if (cause := _cause(error)) is not None:
            raise _told(path, cause) from error
        raise


FULL = {
    errno.ENOSPC: "no space or no inodes are left on this disk",
    errno.EDQUOT: "the quota on this disk is spent",
    errno.EFBIG: "the limit on the size of a file is reached",
}


def _told(path: Path, error: OSError) -> Exception:
    """Return the error for a failed write: what to do if the disk is full, else the system's."""
    if error.errno in FULL:
        return ValueError(f"{path}: {FULL[error.errno]}; free some and repeat the command")
    return OSError(error.errno, error.strerror, str(path))


def _cause(error: BaseException | None) -> OSError | None:
    """Return the failed system call behind an error, which torch wraps in a RuntimeError."""
    while isinstance(error, RuntimeError):
        error = error.__cause__ or error.__context__
    return error if isinstance(error, OSError) else None


class Hashed:
    """A file for sequential writing that computes the digest of its content."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def flush(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk if the system supports it."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_drafts(folder: Path) -> None:
    """Delete unfinished files in a folder and below; links are not followed."""
    for place, _, names in os.walk(folder):
        for name in names:
            if OURS.fullmatch(name):
                with suppress(OSError):
                    os.unlink(os.path.join(place, name))


def refuse_links(folder: Path) -> None:
    """Raise ValueError if a link in a folder, or below it, leads outside."""
    home = folder.resolve()
    for place, names, _ in os.walk(folder):
        for path in (Path(place, name) for name in names):
            if path.is_symlink() and not path.resolve().is_relative_to(home):
                raise ValueError(
                    f"{path}: is a link out of {folder}, and nothing is written or deleted through "
                    "it; put the folder itself there"
                )


def append_line(path: Path, text: str) -> None:
    """Append a line to a file and flush it to the disk, or leave the file as it was.

    An incomplete last line, as a power failure leaves it, is removed. Raises ValueError if the disk
    is full.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    content = f"{text}\n".encode()
    try:
        descriptor = os.open(path, flags, 0o666)
        size = os.fstat(descriptor).st_size
        before = _end_of_lines(descriptor, size)
        try:
            if before < size:  # else what is behind it now, another process has just added
                os.ftruncate(descriptor, before)
            if os.write(descriptor, content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, before)
            raise
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _told(path, error) from error


def _end_of_lines(descriptor: int, end: int) -> int:
    """Return the end of the last complete line in the first `end` bytes of a file."""
    while end:
        start = max(0, end - 4096)
        os.lseek(descriptor, start, os.SEEK_SET)
        found = os.read(descriptor, end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def write_text(path: Path, text: str) -> None:
    """Write a text file as a whole or not at all."""
    write_whole(path, lambda file: file.write(text.encode()))


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file as a whole or not at all."""
    write_text(path, as_json(content, indent=2) + "\n")


def write_record(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object with its fingerprint, so that damage is noticed."""
    write_json(path, sealed(json.loads(as_json(content))))  # with the values that a reader gets


def as_json(content: Any, *, indent: int | None = None) -> str:
    """Return plain values as JSON, with `null` for NaN and infinities."""
    return json.dumps(_known(content), indent=indent, allow_nan=False)


def _known(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _known(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_known(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def write_yaml(path: Path, content: Mapping[str, Any]) -> None:
    """Write a YAML mapping with its fingerprint, so that damage is noticed."""
    write_text(path, yaml.safe_dump(sealed(content), sort_keys=False))


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def refuse_flipped(path: Path) -> None:
    """Raise ValueError unless all parts of a file of `torch.save` have their checksums.

    `torch.load` does not check them.
    """
    with zipfile.ZipFile(path) as parts:
        if (damaged := parts.testzip()) is not None:
            raise ValueError(f"{path}: damaged in {damaged}")


class Boundless(ValueError):
    """A file is too large or nested too deeply to be read."""


def read_json(path: Path, *needed: str) -> dict[str, Any]:
    """Read a JSON object; ValueError if the file is missing, damaged or lacks a `needed` key."""
    return _mapping(path, _read(path, json.loads), needed)


def read_yaml(path: Path, *needed: str) -> dict[str, Any]:
    """Read a YAML mapping; ValueError if the file is missing, damaged or lacks a `needed` key."""
    return _mapping(path, _read(path, parse_yaml), needed)


def parse_yaml(text: str) -> Any:
    """Return the content of a YAML text, as `yaml.safe_load` does, in an eighth of its time.

    The library in C parses it; what that refuses is told by the one in Python.
    """
    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError:
        return yaml.safe_load(text)


def typed(path: Path, content: dict[str, Any], types: Types) -> dict[str, Any]:
    """Return the record if its values have these types; ValueError names the file and the key."""
    for key, of in types.items():
        if key in content and not isinstance(content[key], of):
            names = " or ".join(one.__name__ for one in (of if isinstance(of, tuple) else (of,)))
            raise ValueError(f"{path}: damaged, {key} is no {names}")
    return content


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read JSON objects, one per line; an empty list if there is no file, ValueError if damaged.

    An incomplete last line is ignored. There may be any number of lines.
    """
    if not path.exists():
        return []
    rows: list[Any] = []
    with _damage_told(path), path.open(encoding="utf-8") as file:
        while (line := file.readline(LARGEST + 1)).endswith("\n"):
            rows.append(json.loads(line))
            _count(rows[-1])
        if len(line) > LARGEST:
            raise _too_large(path, "a line")
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path}: damaged, a line is no object; repair or delete it")
    return rows


def _read(path: Path, parse: Callable[[str], Any]) -> Any:
    """Return the parsed content of a file."""
    with _damage_told(path):
        if path.stat().st_size > LARGEST:
            raise _too_large(path, "it")
        content = parse(path.read_text(encoding="utf-8"))
        _count(content)
    return content


def _too_large(path: Path, what: str) -> Boundless:
    return Boundless(f"{path}: damaged, {what} has more than {LARGEST >> 20} MiB")


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    """Raise ValueError that names the file for anything that keeps it from being read."""
    if path.is_fifo():  # reading one would wait forever
        raise ValueError(f"{path}: damaged, it is a pipe")
    try:
        yield
    except RecursionError as error:
        raise Boundless(f"{path}: damaged, it is nested too deeply") from error
    except OverflowError as error:
        raise Boundless(f"{path}: damaged, it has more than {MOST:,} values") from error
    except (OSError, json.JSONDecodeError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: unreadable ({error.__class__.__name__})") from error


def _count(content: Any) -> None:
    """Raise OverflowError if there are too many values, aliases counted each time.

    Raises RecursionError if they are nested too deeply.
    """
    left, waiting = MOST, [(content, 0)]
    while waiting:
        left -= 1
        if left < 0:
            raise OverflowError
        item, depth = waiting.pop()
        if depth > DEEPEST:
            raise RecursionError
        inner = item.values() if isinstance(item, Mapping) else item
        if isinstance(item, Mapping | list):
            waiting += ((each, depth + 1) for each in inner)


def _mapping(path: Path, content: Any, needed: Sequence[str]) -> dict[str, Any]:
    lacking = [key for key in needed if not isinstance(content, dict) or key not in content]
    if lacking or not isinstance(content, dict):
        raise ValueError(f"{path}: damaged, it has no {lacking[0] if lacking else 'keys'}")
    try:
        return unsealed(content)
    except (ValueError, TypeError) as error:  # keys of different types
        raise ValueError(f"{path}: {error}") from error


def absolute(path: str) -> str:
    """Return an absolute path, with `~` expanded."""
    return os.path.abspath(Path(path).expanduser())
