"""What is learned from: the interface of all data, and that of sets of images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch

from nasrun.data.contents import Contents
from nasrun.data.facts import Facts
from nasrun.data.splits import Part, Split

Watched = Callable[[Iterable[Any], str, int], Iterable[Any]]
"""From items, a word for the work on them, and their number to the same items, with progress."""


class Data(ABC):
    """Data to learn from: a set of images, or an environment; the constructor reads no file."""

    words: ClassVar[str]
    """The kind of data, in a user's words."""

    @abstractmethod
    def check(self) -> None:
        """Raise ValueError if the data contradict the settings; decode no image."""

    @abstractmethod
    def look(self, watched: Watched) -> None:
        """Decode the images of all parts; ValueError names those that cannot be read.

        Nothing is learned from them. `watched` shows the progress.
        """

    @abstractmethod
    def contents(self) -> Contents | None:
        """The files of the data; `None` if the name and the settings already identify them."""


class Dataset(Data):
    """A set of square images with labels."""

    words = "labelled images"

    @abstractmethod
    def facts(self) -> Facts:
        """Classes, shape and normalisation; this may read train images, but no test images."""

    @abstractmethod
    def split(self, *parts: Part, device: torch.device) -> Split:
        """The parts, concatenated; test images are read only if "test" is one of them."""

    @abstractmethod
    def count_test(self) -> int:
        """The number of test images; none is decoded."""
