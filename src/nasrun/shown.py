"""Text from outside, such as the names of files, as it may be shown."""

from unicodedata import category


def shown(text: object) -> str:
    r"""The text with every character that a terminal would not print written as an escape.

    Escape codes, line ends, characters that turn the writing direction, and bytes of file names
    that are no UTF-8 (`\xe9`) become visible; everything else stays as it is.
    """
    return "".join(char if _is_printed(char) else _escape(char) for char in str(text))


def _is_printed(char: str) -> bool:
    return char.isprintable() or category(char) == "Zs"  # spaces of any width


def _escape(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # how Python holds a byte that it could not decode
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")
