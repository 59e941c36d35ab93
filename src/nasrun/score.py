"""What is said of an architecture, by a number that has a name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Score:
    """One number: what it is called, and whether more of it is better.

    others: what was measured besides, by names of their own; it is logged, and ranks nothing.
    """

    name: str
    value: float
    higher_is_better: bool = True
    others: Mapping[str, float] = field(default_factory=dict)

    @property
    def merit(self) -> float:
        """The number to rank by: more is better, and what is no number comes last."""
        if not self.sound:
            return -math.inf
        return self.value if self.higher_is_better else -self.value

    @property
    def sound(self) -> bool:
        """Whether the value is a finite number, as that of a training which diverged is not."""
        return math.isfinite(self.value)

    @classmethod
    def validation(cls, metrics: Mapping[str, float], objective: str) -> Score:
        """A task's `objective` on validation data, with the other metrics.

        A network whose loss is no number answers with none: it has no objective either.
        """
        named = {f"validation_{name}": value for name, value in metrics.items()}
        name = f"validation_{objective}"
        value = named.pop(name)
        sound = all(map(math.isfinite, named.values()))
        return cls(name, value if sound else math.nan, others=named)

    def report(self) -> dict[str, object]:
        """What a `result.json` holds of it."""
        lower = {} if self.higher_is_better else {"higher_is_better": False}
        return {"judged_by": self.name, self.name: self.value, **lower}
