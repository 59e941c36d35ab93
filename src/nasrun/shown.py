"""Text from outside, such as the names of files, as it may be shown."""

from collections.abc import Sequence
from unicodedata import category


def shown(text: object) -> str:
    r"""The text with every character that a terminal would not print written as an escape.

    Escape codes, line ends, characters that turn the writing direction, and bytes of file names
    that are no UTF-8 (`\xe9`) become visible; everything else stays as it is.
    """
    return "".join(char if _is_printed(char) else _escape(char) for char in str(text))


def some(names: Sequence[str], most: int = 10, between: str = ", ") -> str:
    """The first names, at most `most`, and the number of the others."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return between.join(map(shown, names[:most])) + more


def _is_printed(char: str) -> bool:
    return char.isprintable() or category(char) == "Zs"  # spaces of any width


def _escape(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # how Python holds a byte that it could not decode
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")
