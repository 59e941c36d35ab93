"""Samplers of the architectures on which a supernet is trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch

from nasrun.genotype import Genotype
from nasrun.spaces.supernet import SupernetSpace
from nasrun.stage import Metrics


class PathSampler(ABC):
    """Draws one architecture per batch, from the generator `stream` or torch's global one."""

    @abstractmethod
    def begin(self, space: SupernetSpace, stream: torch.Generator | None = None) -> None:
        """Receive the space to draw from."""

    @abstractmethod
    def draw(self, stream: torch.Generator | None = None) -> Genotype:
        """Return the next architecture."""

    @abstractmethod
    def report(self) -> Metrics:
        """Return metrics of the draws since the last call."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next draw depends on, except the generator."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state that `state_dict` returned."""


class Uniform(PathSampler):
    """Every draw is uniform and independent (1902.07638, 1904.00420)."""

    def begin(self, space: SupernetSpace, stream: torch.Generator | None = None) -> None:
        self.space = space

    def draw(self, stream: torch.Generator | None = None) -> Genotype:
        return self.space.sample(stream)

    def report(self) -> Metrics:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert not state
