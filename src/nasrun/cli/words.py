"""Words of a reading verb: `key=value`, and names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


def sorted_out(words: Sequence[str], known: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """The `key=value` words and the others; ValueError for a key that is not known."""
    keys = dict(word.split("=", 1) for word in words if "=" in word)
    for key in keys:
        if key not in known:
            hint = near(key, known) or f"; there are {', '.join(known)}"
            raise ValueError(f"{key}: unknown key{hint}")
    return keys, [word for word in words if "=" not in word]


def packages(text: str) -> list[str]:
    """The names in `[a,b]`."""
    return [name.strip() for name in text.strip("[]").split(",") if name.strip()]


def near(word: str, known: Iterable[str]) -> str:
    """`, did you mean X?` if something known is close, else an empty text."""
    found = get_close_matches(word, list(known), 1)
    return f", did you mean {found[0]}?" if found else ""
