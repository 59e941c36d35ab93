"""A command of stages, as the pipeline receives it."""

from __future__ import annotations

from dataclasses import dataclass

from nasrun.config import Composed


@dataclass(frozen=True)
class Command:
    """A verb with its composed configuration, the overrides as typed, and the trusted packages.

    only_foreseen: `nasrun plan` only predicts it. text: the whole line as typed.
    """

    verb: str
    composed: Composed
    typed: tuple[str, ...]
    trusted: tuple[str, ...]
    only_foreseen: bool = False
    text: str = ""
