"""nasrun: neural architecture search as one pipeline, search -> select -> retrain -> transfer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nasrun.runs.finished import load

__all__ = ["load"]


def __getattr__(name: str) -> object:
    """Import `nasrun.load` only when used, so that the command line does not wait for torch."""
    if name == "load":
        from nasrun.runs.finished import load

        return load
    raise AttributeError(name)
