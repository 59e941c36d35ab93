"""Which architecture a supernet trains on next."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from nasrun.genotype import Genotype
from nasrun.spaces.supernet import SupernetSpace
from nasrun.stage import Metrics


class PathSampler(ABC):
    """Draws one architecture per batch, with torch's global random numbers."""

    @abstractmethod
    def begin(self, space: SupernetSpace) -> None:
        """Draw from this space from now on."""

    @abstractmethod
    def draw(self) -> Genotype:
        """The next architecture."""

    @abstractmethod
    def report(self) -> Metrics:
        """What is logged of the draws since the last call."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """What the next draw depends on, but the random state."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from such a state."""


class Uniform(PathSampler):
    """Every draw is uniform and independent of the others (1902.07638, 1904.00420)."""

    def begin(self, space: SupernetSpace) -> None:
        self.space = space

    def draw(self) -> Genotype:
        return self.space.sample()

    def report(self) -> Metrics:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert not state
