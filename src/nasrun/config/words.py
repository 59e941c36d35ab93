"""The words of an override, and those that a user may have meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`, did you mean X?` if something known is close, else an empty text."""
    near = get_close_matches(word, [name for name in known if not name.startswith("_")], 1)
    return f", did you mean {near[0]}?" if near else ""


def key_of(override: str) -> str:
    """The key of an override, without `+`, `~` and package."""
    return override.split("=", 1)[0].lstrip("+~").strip()


def root_of(key: str) -> str:
    """The frame's key or the group that a key belongs to: of `strategy@strategy.inner` strategy."""
    return key.split("@")[-1].split(".")[0].split("/")[0]
