"""Checks, before anything runs, that a table lists the architectures of its space."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from nasrun.data.table import check
from nasrun.genotype import Genotype

if TYPE_CHECKING:
    from nasrun.spaces.base import Space

MOST = 20_000
"""Ours: at most this many architectures are all looked up; NAS-Bench-201 has 15,625."""
DRAWN = 1000
"""Ours: number of architectures of a larger space that are drawn and looked up."""


def check_table(space: Space, path: Path) -> None:
    """Raise ValueError unless a file is a table of this space.

    Else a search would run for hours before its choice is looked up in vain.
    """
    from nasrun.spaces.base import entry_of

    known = check(path)
    for genotype in _architectures(space):
        text = entry_of(space, genotype)
        if text is not None and text not in known:
            raise ValueError(
                f"table={path}: none of its {len(known):,} lines is the architecture {text} of "
                "this space; use a complete table of this space"
            )


def _architectures(space: Space) -> Iterator[Genotype]:
    """Yield all architectures of a small space without limits, else some drawn ones."""
    import torch

    from nasrun.spaces.base import DrawnSpace
    from nasrun.spaces.decision import DecisionSpace

    if isinstance(space, DecisionSpace) and not space.limits:
        choices = [space.candidates(decision) for decision in space.decisions]
        if math.prod(map(len, choices)) <= MOST:
            for chosen in product(*choices):
                yield Genotype(space.name, dict(zip(space.names, chosen, strict=True)))
            return
    if isinstance(space, DrawnSpace):
        generator = torch.Generator().manual_seed(0)
        for _ in range(DRAWN):
            yield space.sample(generator)
