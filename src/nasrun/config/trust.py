"""Packages outside nasrun: the targets that a command line trusts, and the import of packages."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module

TRUSTED = ("nasrun.", "torch.optim.")
"""Beginnings of targets that every command trusts."""


def trusts(packages: Sequence[str], target: str) -> bool:
    """Return whether a target is ours, of `torch.optim`, or of one of these packages."""
    return target.startswith((*TRUSTED, *(f"{name.rstrip('.')}." for name in packages)))


def import_trusted(packages: Sequence[str]) -> None:
    """Import a user's packages, also from the current folder, so that they register operations."""
    for package in packages:
        if not re.fullmatch(r"\w+(\.\w+)*", package):
            raise ValueError(
                f"trust=[{package}]: not the name of a package; type one as in an import"
            )
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
        try:
            import_module(package)
        except ModuleNotFoundError as error:
            if not f"{package}.".startswith(f"{error.name}."):  # a package that this one imports
                raise
            raise ValueError(
                f"trust=[{package}]: no such package here or installed; install it, or name another"
            ) from error
