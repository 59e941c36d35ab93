"""Learning rate schedules: functions of the share of a run that is done."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass


class Schedule(ABC):
    """A learning rate as a function of progress."""

    @abstractmethod
    def at(self, progress: float, first: float) -> float:
        """Return the rate when the share `progress` in [0, 1] of the run is done.

        `first` is the optimizer's own learning rate.
        """


@dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """The optimizer's own rate throughout."""

    def at(self, progress: float, first: float) -> float:
        return first


@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """Half a cosine from the first rate to `last` (1608.03983, without restarts)."""

    last: float

    def __post_init__(self) -> None:
        if self.last < 0:
            raise ValueError(f"last={self.last}: use a learning rate of 0 or more")

    def at(self, progress: float, first: float) -> float:
        return self.last + (first - self.last) * (1 + math.cos(math.pi * progress)) / 2


@dataclass(frozen=True, kw_only=True)
class Exponential(Schedule):
    """The first rate, multiplied by `decay` after every `1 / epochs` of the run.

    This is DARTS's ImageNet recipe.
    """

    decay: float
    epochs: int

    def __post_init__(self) -> None:
        if not 0 < self.decay <= 1 or self.epochs < 1:
            raise ValueError(
                f"decay={self.decay} epochs={self.epochs}: use 0 < decay <= 1 and epochs >= 1"
            )

    def at(self, progress: float, first: float) -> float:
        return first * self.decay ** math.floor(progress * self.epochs + 1e-9)
