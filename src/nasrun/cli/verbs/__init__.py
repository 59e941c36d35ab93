"""The table of verbs: one file here for each verb, and one for the stages."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from nasrun.cli.verb import Verb


def _table() -> dict[str, Verb]:
    """Return the verbs of every file here, first those of the stages, in the pipeline's order."""
    names = sorted((module.name for module in iter_modules(__path__)), key=lambda n: n != "stages")
    files = [import_module(f"{__name__}.{name}") for name in names]
    return {verb.name: verb for file in files for verb in file.VERBS}


VERBS = _table()
