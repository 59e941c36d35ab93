"""Random numbers by name: drawing more of them for one purpose changes nothing for another.

A stream is named by the run's seed, the stage, the round and the purpose, and by nothing else. So a
round needs no stored generator to be repeated or continued after an interruption, and processes
that share a round and draw alike get the same numbers: each draws for the whole batch, or for all
candidates, and keeps its part.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nasrun.genotype import fingerprint

if TYPE_CHECKING:
    from torch import Generator

Word = str | int

BEGIN = "begin"
"""In place of a round's number: the construction of a stage."""


def named(*name: Word) -> int:
    """Return the seed of the stream of this name.

    Torch's CPU generator uses 32 bits of a seed: of n streams, two are equal with a probability of
    n^2 / 2^33.
    """
    return int(fingerprint(list(name)), 16)


@contextmanager
def restored() -> Iterator[None]:
    """Restore torch's global generators afterwards: those of the CPU, and of a GPU in use.

    By default, `fork_rng` starts every GPU of the machine.
    """
    import torch

    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices):
        yield


class Streams:
    """The streams of a command, at one place at a time: a round of a stage, or its beginning.

    Each place has its own streams, which begin anew whenever the place is entered. The global
    generators of torch, numpy and Python are seeded there, too: they serve networks and libraries
    (initial weights, drop path, dropout, environments). All generators are on the CPU.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._stage = ""
        self._place: tuple[Word, ...] = (self._stage, BEGIN)
        self._generators: dict[str, Generator] = {}

    def enter(self, stage: str) -> None:
        """Go to the beginning of a stage."""
        self._stage = stage
        self._go(BEGIN)

    def at(self, round: int) -> None:
        """Go to a round of the same stage; the one after the last is for its end."""
        self._go(round)

    def __call__(self, purpose: str) -> Generator:
        """Return the stream of a purpose, which goes on where its last user left it."""
        if purpose not in self._generators:
            self._generators[purpose] = seeded(named(self.seed, *self._place, "for", purpose))
        return self._generators[purpose]

    def numbers(self, purpose: str, count: int) -> list[int]:
        """Return that many seeds from the stream of a purpose, for workers or candidates."""
        import torch

        return torch.randint(2**62, (count,), generator=self(purpose)).tolist()

    def throughout(self, *name: Word) -> Generator:
        """Return a new generator that is the same in all rounds of the stage."""
        return seeded(named(self.seed, self._stage, "throughout", *name))

    @contextmanager
    def aside(self, *name: Word) -> Iterator[None]:
        """Draw inside from streams of their own, the same for the same name in the whole stage.

        Afterwards all streams and torch's global generators go on as if nothing had been drawn.
        """
        import torch

        before = self._place, self._generators
        with restored():
            self._place, self._generators = (self._stage, "aside", *name), {}
            torch.manual_seed(named(self.seed, *self._place))
            try:
                yield
            finally:
                self._place, self._generators = before

    def _go(self, moment: Word) -> None:
        import numpy
        import torch

        self._place, self._generators = (self._stage, moment), {}
        seed = named(self.seed, *self._place)
        torch.manual_seed(seed)
        random.seed(seed)
        numpy.random.seed(seed % 2**32)


def seeded(seed: int) -> Generator:
    """Return a generator on the CPU with this seed."""
    import torch

    return torch.Generator().manual_seed(seed)
