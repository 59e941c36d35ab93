"""Recognises the space of a text by its notation, so that a command need not name it."""

from __future__ import annotations

import re

from nasrun.spaces.notation import modules, nasbench, tuples
from nasrun.spaces.notation.cells import CELLS

NASBENCH = re.compile(r"~\d|nor_conv_|Structure\s*\(")
MOBILE = re.compile(r"(?:k\d\S*|skip_connect)(?:\s+(?:k\d\S*|skip_connect))*")
MORPH = re.compile(r"layers\s+conv\d")
MODULAR = {
    "gan": re.compile(r"generator/\w+\s+\w+="),
    "drqv2": re.compile(r"encoder/layers\s+\w+="),
}
"""How the texts of spaces of named modules begin."""


def home(text: str) -> str | None:
    """Return the name of the space whose notation the text has, or `None`."""
    text = text.strip()
    if nasbench.NAMED.fullmatch(text):
        return "transnas101"
    if NASBENCH.search(text) or (text.isascii() and text.isdigit()):
        return "nasbench201"
    if modules.written(text):
        return "nasbench101"
    written = text.lstrip("'\"").startswith(CELLS) and ("@" in text or "|" in text)
    if tuples.START.search(text) or written:
        return "darts"
    if MORPH.match(text):
        return "morph"
    if MOBILE.fullmatch(text):
        return "mobile"
    return next((name for name, start in MODULAR.items() if start.match(text)), None)
