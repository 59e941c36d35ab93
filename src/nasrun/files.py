"""Files that are whole or not there, whatever ends the process or the power.

Every file of a run is written under a name of its own, opened exclusively, flushed to the disk and
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
"""How the name of an unfinished file ends."""
OURS = re.compile(
    rf"\..+\.[0-9a-f]{{32}}{re.escape(DRAFT)}"  # of today, then those of earlier versions
    r"|(state|\d{2}(\.child)?|.+\.(json|jsonl|yaml|png|svg))\.tmp"
)
"""The names of unfinished files."""
LARGEST = 2**26
"""Bytes of the largest JSON or YAML file that is read."""
MOST = 10**6
"""Values in the largest of them: aliases in YAML can stand for far more than its bytes."""
DEEPEST = 100
"""How deep their values are nested."""
Types = Mapping[str, type | tuple[type, ...]]
"""What the values of some keys of a record are, where it has these keys."""


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> str:
    """Let `write` fill a new file, then put it in place of what is there.

    Returns the SHA-256 of what was written. Raises ValueError where the disk is full, naming what
    was to be written.
    """
    with drafted(path) as (draft, file):
        counted = Hashed(file)
        write(counted)  # type: ignore[arg-type]  # it writes, which is all that is asked of it
        file.flush()
        os.fsync(file.fileno())
        os.replace(draft, path)
        flush(path.parent)
    return counted.digest.hexdigest()


@contextmanager
def drafted(path: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """A new file beside `path`, open for writing; it is gone if what is done with it fails."""
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
    """What a failed write says: of a full disk what to do, of all else what the system says."""
    if error.errno in FULL:
        return ValueError(f"{path}: {FULL[error.errno]}; free some and repeat the command")
    return OSError(error.errno, error.strerror, str(path))


def _cause(error: BaseException | None) -> OSError | None:
    """The failed system call behind an error; torch raises a RuntimeError of its own on top."""
    while isinstance(error, RuntimeError):
        error = error.__cause__ or error.__context__
    return error if isinstance(error, OSError) else None


class Hashed:
    """A file to write to, front to back, that knows the digest of what was written."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def flush(path: Path) -> None:
    """Write a file, or the names in a folder, to the disk, where the system can do that."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_drafts(folder: Path) -> None:
    """Delete what unfinished writes have left in a folder and below; links are not followed."""
    for place, _, names in os.walk(folder):
        for name in names:
            if OURS.fullmatch(name):
                with suppress(OSError):
                    os.unlink(os.path.join(place, name))


def refuse_links(folder: Path) -> None:
    """ValueError for a link in a folder, or below it, to a folder elsewhere."""
    home = folder.resolve()
    for place, names, _ in os.walk(folder):
        for path in (Path(place, name) for name in names):
            if path.is_symlink() and not path.resolve().is_relative_to(home):
                raise ValueError(
                    f"{path}: is a link out of {folder}, and nothing is written or deleted through "
                    "it; put the folder itself there"
                )


def append_line(path: Path, text: str) -> None:
    """Add a line to a file and flush it to the disk, or leave the file as it was.

    A last line without its end, as a loss of power leaves it, goes. Raises ValueError where the
    disk is full.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    content = f"{text}\n".encode()
    try:
        descriptor = os.open(path, flags, 0o666)
        before = _end_of_lines(descriptor)
        try:
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


def _end_of_lines(descriptor: int) -> int:
    """Where the last whole line of a file ends."""
    end = os.fstat(descriptor).st_size
    while end:
        start = max(0, end - 4096)
        os.lseek(descriptor, start, os.SEEK_SET)
        found = os.read(descriptor, end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def write_text(path: Path, text: str) -> None:
    """Write a text file at once, never half of it."""
    write_whole(path, lambda file: file.write(text.encode()))


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file at once, never half of it."""
    write_text(path, as_json(content, indent=2) + "\n")


def write_record(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object at once, with its fingerprint, so that damage shows."""
    write_json(path, sealed(json.loads(as_json(content))))  # as it will be read


def as_json(content: Any, *, indent: int | None = None) -> str:
    """JSON of plain values; a number that JSON has no word for (NaN, an infinity) is null."""
    return json.dumps(_known(content), indent=indent, allow_nan=False)


def _known(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _known(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_known(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def write_yaml(path: Path, content: Mapping[str, Any]) -> None:
    """Write a YAML mapping at once, with its fingerprint, so that damage shows."""
    write_text(path, yaml.safe_dump(sealed(content), sort_keys=False))


def digest_of(path: Path) -> str:
    """The SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def refuse_flipped(path: Path) -> None:
    """ValueError unless the parts of what `torch.save` wrote have their checksums.

    `torch.load` does not look at them.
    """
    with zipfile.ZipFile(path) as parts:
        if (damaged := parts.testzip()) is not None:
            raise ValueError(f"{path}: damaged in {damaged}")


class Boundless(ValueError):
    """A file holds more than is read of one, or is nested too deep."""


def read_json(path: Path, *needed: str) -> dict[str, Any]:
    """A JSON object; ValueError names a file that is missing, damaged, or lacks a needed key."""
    return _mapping(path, _read(path, json.loads), needed)


def read_yaml(path: Path, *needed: str) -> dict[str, Any]:
    """A YAML mapping; ValueError names a file that is missing, damaged, or lacks a needed key."""
    return _mapping(path, _read(path, yaml.safe_load), needed)


def typed(path: Path, content: dict[str, Any], types: Types) -> dict[str, Any]:
    """A record whose values are of these types where it has them; ValueError names the file."""
    for key, of in types.items():
        if key in content and not isinstance(content[key], of):
            names = " or ".join(one.__name__ for one in (of if isinstance(of, tuple) else (of,)))
            raise ValueError(f"{path}: damaged, {key} is no {names}")
    return content


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a file, one per line, none if there is no file; ValueError if damaged.

    A last line without its end was never written whole: it is none.
    """
    if not path.exists():
        return []
    rows = _read(path, lambda text: [json.loads(line) for line in text.split("\n")[:-1]])
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path}: damaged, a line is no object; repair or delete it")
    return rows


def _read(path: Path, parse: Callable[[str], Any]) -> Any:
    if path.is_fifo():  # one would wait for what is never written
        raise ValueError(f"{path}: damaged, it is a pipe")
    try:
        if path.stat().st_size > LARGEST:
            raise Boundless(f"{path}: damaged, it has more than {LARGEST >> 20} MiB")
        content = parse(path.read_text(encoding="utf-8"))
        _count(content)
    except RecursionError as error:
        raise Boundless(f"{path}: damaged, it is nested too deeply") from error
    except OverflowError as error:
        raise Boundless(f"{path}: damaged, it has more than {MOST:,} values") from error
    except (OSError, json.JSONDecodeError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: unreadable ({error.__class__.__name__})") from error
    return content


def _count(content: Any) -> None:
    """OverflowError where there are too many values, each counted as often as it is named.

    RecursionError where they are nested too deep.
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
    except (ValueError, TypeError) as error:  # of keys of several types
        raise ValueError(f"{path}: {error}") from error
