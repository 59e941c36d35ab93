"""What a search space is at least: architectures, each with a notation and a network.

From the weakest to the strongest, and everybody asks for the weakest that suffices: a `Space` has
networks; a `ClassifierSpace` has those that are retrained, counted and exported; a `DecisionSpace`
(`nasrun.spaces.decision`) can be searched, a `SupernetSpace` (`nasrun.spaces.supernet`) with all
choices at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from nasrun.genotype import Genotype
from nasrun.networks import ImageClassifier, Network
from nasrun.spaces.layout import Layout


class Space(ABC):
    """Architectures, each with a notation and a network; frozen, without tensors.

    `words` say in a user's words what a space of this kind has, `options` which spaces have it.
    """

    words: ClassVar[str] = "a network"
    options: ClassVar[str] = "any space"
    makes: ClassVar[type[Network]]
    """The kind of its networks."""

    name: str
    table: str | None = None
    """A file with the true accuracies of all genotypes, for reports (`nasrun.data.table`)."""

    @abstractmethod
    def network(self, genotype: Genotype, *, inputs: int, outputs: int) -> Network:
        """The freshly initialised network of a genotype, drawn from torch's global generator.

        `inputs` and `outputs` are the task's.
        """

    @abstractmethod
    def check(self, genotype: Genotype) -> Genotype:
        """The same genotype if it is one of this space's, else a ValueError.

        Misfit if it is one of a larger or a smaller space of this kind.
        """

    @abstractmethod
    def render(self, genotype: Genotype) -> str:
        """The genotype in the literature's notation, one line."""

    @abstractmethod
    def parse(self, text: str) -> Genotype:
        """The genotype of `render`'s notation; ValueError says what is wrong with the text."""

    @abstractmethod
    def cells(self, genotype: Genotype) -> dict[str, list[tuple[str, str, str]]]:
        """Per cell type the edges (from, to, operation) to draw, dropped ones left out."""


class ClassifierSpace(Space):
    """Networks that classify images and can be built in any `Layout`: what is retrained."""

    words = ImageClassifier.words
    options = ImageClassifier.spaces
    makes = ImageClassifier
    layer_wise: bool = False
    """Whether a network has one layer per decision, whatever its width: then no other `layers` fit,
    and there is no auxiliary head."""

    @abstractmethod
    def network(
        self, genotype: Genotype, *, inputs: int, outputs: int, layout: Layout | None = None
    ) -> ImageClassifier:
        """The network of a genotype; `None` is a layout of the space's own."""
