"""A trial of Auto-Keras: a network, what it grew from, and what its training gave."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from nasrun.strategies.members import SavedCandidate


@dataclass(frozen=True)
class GrownTrial(SavedCandidate):
    """A network that is trained or was, with its best score.

    It grew from the trial `ancestor` by `morphs`, a first network from none. `scores` has the score
    after every interval, `seconds` how long each took. `file` has what it had learned at the best
    one, `latest` what it has learned, relative to the home folder.
    """

    number: int
    ancestor: int | None = None
    morphs: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    seconds: tuple[float, ...] = ()
    file: str | None = None
    latest: str | None = None
    ended: bool = False

    def after(self, score: float, seconds: float, file: str) -> GrownTrial:
        """Return the trial after an interval; a score that is not finite ends it."""
        better = self.file is None or score > self.score.value
        sound = math.isfinite(score)
        return replace(
            self,
            score=replace(self.score, value=score) if better else self.score,
            scores=(*self.scores, score),
            seconds=(*self.seconds, seconds),
            file=file if better and sound else self.file,
            latest=file if sound else self.latest,
            ended=not sound,
        )

    @property
    def cost(self) -> float | None:
        """What is to be minimised: infinite if the network could not be trained, `None` before."""
        return -self.score.merit if self.ended else None

    @property
    def files(self) -> list[str]:
        """The files that are still needed."""
        names = (self.file,) if self.ended else (self.file, self.latest)
        return [name for name in names if name is not None]

    @property
    def stale(self) -> int:
        """Number of intervals since the best score."""
        return len(self.scores) - 1 - self.scores.index(max(self.scores))
