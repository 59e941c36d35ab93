"""What a selector is: a stage that turns what a strategy learned into one genotype."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from nasrun.genotype import Genotype
from nasrun.spaces.base import Space
from nasrun.stage import Stage
from nasrun.strategies.base import Strategy


class Selector(Stage):
    """A stage that ends with a genotype; `accepts` is the kind of strategy that it can read."""

    accepts: type[Strategy]
    space: Space

    @abstractmethod
    def begin(self, strategy: Strategy, space: Space) -> None:
        """Take a strategy at the end of its search."""

    @property
    @abstractmethod
    def genotype(self) -> Genotype:
        """The choice, once the stage is done."""

    @abstractmethod
    def report(self, folder: Any) -> dict[str, Any]:
        """Write the selector's own files, if any; what `result.json` holds besides the genotype."""

    def finish(self, folder: Any) -> dict[str, Any]:
        folder.write("genotype.json", self.genotype.to_json())
        return {"genotype": self.space.render(self.genotype), **self.report(folder)}
