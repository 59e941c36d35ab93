"""The base of benchmarks whose official files are read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

Row = list[Any]


class Benchmark(ABC):
    """The official file of a benchmark, open for reading."""

    table: ClassVar[str]
    """Name of the table that is made of it, if no other is given."""
    data: ClassVar[tuple[str, ...]]
    """Names of its data sets."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of rows."""

    @abstractmethod
    def header(self, chosen: Sequence[str]) -> list[str]:
        """Return the names of the columns for these data sets."""

    @abstractmethod
    def rows(self, chosen: Sequence[str]) -> Iterator[Row]:
        """Yield the rows in the benchmark's order; ValueError names what an architecture lacks."""
