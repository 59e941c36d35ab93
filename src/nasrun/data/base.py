"""Data to learn from: the interface of all data, and that of sets of images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch

from nasrun.data.contents import Contents
from nasrun.data.facts import Facts
from nasrun.data.splits import Part, Split

Watched = Callable[[Iterable[Any], str, int], Iterable[Any]]
"""Takes items, a word for the work on them and their number; yields them and shows progress."""


class Data(ABC):
    """Data to learn from: a set of images, or an environment; the constructor reads no file."""

    words: ClassVar[str]
    """The kind of data, in a user's words."""

    @abstractmethod
    def check(self) -> None:
        """Raise ValueError if the data contradict the settings; decode no image."""

    @abstractmethod
    def look(self, watched: Watched) -> None:
        """Decode the images of all parts, and divide them.

        ValueError names images that cannot be read, or a division that is impossible. Nothing is
        learned from them. `watched` shows the progress.
        """

    @abstractmethod
    def contents(self) -> Contents | None:
        """Return the files of the data; `None` if name and settings already identify them."""


class Dataset(Data):
    """A set of square images with labels."""

    words = "labelled images"

    @abstractmethod
    def facts(self) -> Facts:
        """Return classes, shape and normalisation; train images may be read, test images not."""

    @abstractmethod
    def split(self, *parts: Part, device: torch.device) -> Split:
        """Return the parts, concatenated; test images are read only if "test" is one of them."""

    @abstractmethod
    def count_test(self) -> int:
        """Return the number of test images without decoding any."""
