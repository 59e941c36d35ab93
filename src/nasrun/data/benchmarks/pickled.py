"""Reads pickles that hold numbers, texts, lists, dicts and sets, and nothing else.

A pickle can name any function to call. Here, all names but those of plain values are refused before
anything is made, so that a file that is not what it claims to be runs no code.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import IO, Any

import numpy as np


class NotPlain(ValueError):
    """A pickle is damaged, or names something else than plain values."""


def unpickled(file: IO[bytes]) -> Any:
    """Return the value in a pickle; NotPlain says what else it holds."""
    try:
        return _Plain(file).load()
    except NotPlain:
        raise
    except MemoryError as error:  # a damaged length asks for too much, too
        raise NotPlain(
            "is damaged, or needs more memory than there is; take NATS-Bench's folder"
        ) from error
    except Exception as error:
        raise NotPlain(
            f"is damaged ({type(error).__name__}); take it again from its authors"
        ) from error


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ADMITTED:
            raise NotPlain(
                f"names {module}.{name}, which no such file needs; take it only from its authors"
            )
        return ADMITTED[module, name]


def _scalar(kind: np.dtype[Any], content: bytes) -> int | float | bool:
    """Return a number that NumPy has written; an object is none."""
    if kind.kind not in "fiub":
        raise NotPlain(f"holds a NumPy scalar of type {kind}; take it only from its authors")
    return np.frombuffer(content, kind)[0].item()


def _latin(text: str, encoding: str) -> bytes:
    """Return bytes that an old protocol has written as text."""
    return text.encode("latin1")


ADMITTED: dict[tuple[str, str], Callable[..., Any]] = {
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    ("collections", "OrderedDict"): OrderedDict,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("_codecs", "encode"): _latin,
}
"""The names that are made, of containers and numbers alone."""
