"""The base classes of search spaces: architectures, each with a notation and a network.

From general to special: a `Space` has networks; in a `FoldedSpace`, several genotypes are one
network; networks of a `ClassifierSpace` can be retrained, counted and exported; architectures of a
`DrawnSpace` can be drawn at random. A `DecisionSpace` (`nasrun.spaces.decision`) has decisions to
search, the networks of an `InheritingSpace` (`nasrun.spaces.inheritance`) exchange modules, and a
`SupernetSpace` (`nasrun.spaces.supernet`) has a network with all choices at once. Use the most
general one that suffices.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch

from nasrun.genotype import Genotype
from nasrun.networks import ImageClassifier, Network
from nasrun.spaces.layout import Layout


class Space(ABC):
    """Architectures, each with a notation and a network; frozen, without tensors.

    For messages, `words` says what a space of this kind has, `options` which spaces have it.
    """

    words: ClassVar[str] = "a network"
    options: ClassVar[str] = "any space"
    makes: ClassVar[type[Network]]
    """Class of its networks."""

    bounded_by: ClassVar[tuple[str, ...]] = ()
    """The settings of its size that decide whether a genotype belongs to it."""

    name: str
    table: str | None = None
    """File with the true accuracies of all genotypes (`nasrun.data.table`), or `None`."""

    @abstractmethod
    def network(self, genotype: Genotype, *, inputs: int, outputs: int) -> Network:
        """Return a new network of the genotype, initialised from torch's global generator.

        `inputs` and `outputs` are the task's.
        """

    @abstractmethod
    def check(self, genotype: Genotype) -> Genotype:
        """Return the genotype if it belongs to this space, else raise ValueError.

        The error is a Misfit if it belongs to a larger or smaller space of this kind.
        """

    @abstractmethod
    def render(self, genotype: Genotype) -> str:
        """Return the genotype in the literature's notation, on one line."""

    @abstractmethod
    def parse(self, text: str) -> Genotype:
        """Return the genotype from `render`'s notation; ValueError says what is wrong."""

    @abstractmethod
    def cells(self, genotype: Genotype) -> dict[str, list[tuple[str, str, str]]]:
        """Return per cell type the edges (from, to, operation) to draw, without dropped ones."""


class FoldedSpace(Space):
    """A space in which several genotypes are one architecture, so that tables list one text."""

    @abstractmethod
    def entry(self, genotype: Genotype) -> str | None:
        """Return the text by which tables list a genotype; `None` if it computes nothing."""


def entry_of(space: Space, genotype: Genotype) -> str | None:
    """Return the text by which tables list a genotype; `None` if no table can."""
    return space.entry(genotype) if isinstance(space, FoldedSpace) else space.render(genotype)


def listed(space: Space, genotype: Genotype) -> str:
    """Return the text by which tables list a genotype; ValueError if no table can."""
    if (text := entry_of(space, genotype)) is None:
        raise ValueError(
            f"table: {space.render(genotype)} has no path from input to output, so that no "
            "benchmark lists it; give another architecture"
        )
    return text


class DrawnSpace(Space):
    """A space whose architectures can be drawn at random."""

    words = "architectures to draw"
    options = "any space of `nasrun list space`"

    @abstractmethod
    def sample(self, generator: torch.Generator | None = None) -> Genotype:
        """Return a drawn genotype; `None` uses torch's global generator."""


class ClassifierSpace(Space):
    """A space of image classifiers that can be built in any `Layout`, for retraining."""

    words = ImageClassifier.words
    options = ImageClassifier.spaces
    makes = ImageClassifier
    layer_wise: bool = False
    """True if every network has one layer per decision; then `layers` is fixed, and there is no
    auxiliary head.
    """
    self_sized: bool = False
    """True if every genotype has its own number of layers; then a layout has `layers=None` and no
    auxiliary head.
    """

    @abstractmethod
    def network(
        self, genotype: Genotype, *, inputs: int, outputs: int, layout: Layout | None = None
    ) -> ImageClassifier:
        """Return a new network of the genotype; `None` uses the space's own layout."""
