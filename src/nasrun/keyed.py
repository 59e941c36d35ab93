"""Keys in errors as they are typed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def keyed(key: str) -> Iterator[None]:
    """Prefix a ValueError that is raised inside, which begins with a key, with its owner's key."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{key}.{error}") from error
