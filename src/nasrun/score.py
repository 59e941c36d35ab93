"""Scores of architectures: numbers with a name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Score:
    """A number with its name and its direction.

    `others` has further measurements by name, which are logged but not used for ranking.
    """

    name: str
    value: float
    higher_is_better: bool = True
    others: Mapping[str, float] = field(default_factory=dict)

    @property
    def merit(self) -> float:
        """The number to rank by: higher is better, and non-finite scores come last."""
        if not self.sound:
            return -math.inf
        return self.value if self.higher_is_better else -self.value

    @property
    def sound(self) -> bool:
        """Return whether the value is finite; the score of a training that diverged is not."""
        return math.isfinite(self.value)

    @classmethod
    def validation(cls, metrics: Mapping[str, float], objective: str) -> Score:
        """Return the score from a task's `objective` on validation data, and the other metrics.

        If any metric is not finite, the value is NaN.
        """
        named = {f"validation_{name}": value for name, value in metrics.items()}
        name = f"validation_{objective}"
        value = named.pop(name)
        sound = all(map(math.isfinite, named.values()))
        return cls(name, value if sound else math.nan, others=named)

    def report(self) -> dict[str, object]:
        """Return entries for `result.json`."""
        lower = {} if self.higher_is_better else {"higher_is_better": False}
        return {"judged_by": self.name, self.name: self.value, **lower}
