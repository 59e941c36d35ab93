"""Bourgain's embedding of a metric into a Euclidean space (Bourgain 1985; Linial et al. 1995).

A coordinate of a point is its distance to a set of anchors. The sets are kept, so that a new point
gets the coordinates that it would have had from the start; Auto-Keras's released code embeds only
the points that it fits, and predicts from raw distances.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Bourgain:
    """Sets of anchors, which are places in a list of points.

    Distances never grow: coordinates are divided by the root of their number, and no coordinate of
    two points differs by more than their distance.
    """

    anchors: tuple[tuple[int, ...], ...]

    @classmethod
    def drawn(cls, points: int, generator: torch.Generator) -> Bourgain:
        """Draw sets of 1, 2, 4, ... points, the largest of half of them or more, ln(points) each.

        These are the sizes and the number of sets of Auto-Keras's released code.
        """
        sizes = max(1, math.ceil(math.log2(points)))
        repeats = max(1, math.ceil(math.log(points)))
        return cls(
            tuple(
                tuple(torch.randperm(points, generator=generator)[: 2**size].tolist())
                for size in range(sizes)
                for _ in range(repeats)
            )
        )

    def embed(self, distances: np.ndarray) -> np.ndarray:
        """Return the coordinates (m, sets) of points with these distances (m, points) to all."""
        columns = [distances[:, list(chosen)].min(axis=1) for chosen in self.anchors]
        return np.stack(columns, axis=1) / math.sqrt(len(columns))
