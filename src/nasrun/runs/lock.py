"""Locks: only one process at a time works on a run, or on another folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def held(folder: Path, named: str, *, wait: bool = False) -> Iterator[None]:
    """Lock a folder in the context; ValueError if another process holds it.

    `named` is the key and the value by which a user names it. With `wait`, it waits for the other
    process instead.

    The lock is on the folder itself if the system supports it (all but Windows): a lock file could
    be deleted, and a second process would create and lock another.
    """
    try:
        import fcntl
    except ImportError:
        with _held_by_file(folder, named, -1 if wait else 0):
            yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise _taken(named) from error
        if not os.access(folder, os.W_OK):
            raise ValueError(f"{named}: no permission to write in {folder}; name another")
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _held_by_file(folder: Path, named: str, timeout: float) -> Iterator[None]:
    from filelock import FileLock, Timeout

    try:
        with FileLock(folder / ".lock", timeout=timeout):
            yield
    except Timeout as error:
        raise _taken(named) from error


def _taken(named: str) -> ValueError:
    return ValueError(f"{named}: another nasrun process uses it; wait until that ends")
