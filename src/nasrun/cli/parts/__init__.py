"""The table of the parts of `nasrun analyze`: one file here per part.

`analysis/NAME.py` measures, and `NAME.py` here parses the words of the command line.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from nasrun.cli.verb import Verb


def _table() -> dict[str, Verb]:
    names = sorted(module.name for module in iter_modules(__path__))
    return {name: import_module(f"{__name__}.{name}").PART for name in names}


PARTS = _table()
