"""Makes text from outside, such as file names, safe to show."""

from collections.abc import Sequence
from unicodedata import category


def shown(text: object) -> str:
    r"""Return the text with every unprintable character replaced by an escape.

    Escape codes, line ends, characters that change the writing direction, and bytes of file names
    that are not UTF-8 (`\xe9`) become visible; everything else stays as it is.
    """
    return "".join(char if _is_printed(char) else _escape(char) for char in str(text))


def some(names: Sequence[str], most: int = 10, between: str = ", ") -> str:
    """Return the first `most` names, and the number of the others."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return between.join(map(shown, names[:most])) + more


def _is_printed(char: str) -> bool:
    return char.isprintable() or category(char) == "Zs"  # spaces of any width


def _escape(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # how Python holds a byte that it could not decode
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")
