"""Policies: many kinds of random changes of one image, by torchvision's transforms."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

STRONGEST = 30
"""Largest magnitude of torchvision's changes."""


@contextmanager
def reseeded(seed: int) -> Iterator[None]:
    """Let torchvision's transforms, which draw from torch's global CPU generator, use a seed.

    Afterwards the generator goes on as if nothing had been drawn.
    """
    generator = torch.default_generator
    before = generator.get_state()
    try:
        generator.manual_seed(seed)
        yield
    finally:
        generator.set_state(before)


class ImagePolicy(ABC):
    """Changes an image (C, H, W) uint8 at random; the seed alone decides how."""

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        with reseeded(seed):
            return self.transform(image)

    @property
    @abstractmethod
    def transform(self) -> Any:
        """A transform of `torchvision.transforms.v2`."""


@dataclass(frozen=True, kw_only=True)
class RandAugment(ImagePolicy):
    """Some changes of one strength, drawn from fourteen (1909.13719), with torchvision's ranges.

    changes: how many per image; magnitude: their strength, 0 to 30.
    """

    changes: int
    magnitude: int

    def __post_init__(self) -> None:
        if self.changes < 1:
            raise ValueError(f"policy.changes={self.changes}: use 1 or more")
        if not 0 <= self.magnitude <= STRONGEST:
            raise ValueError(f"policy.magnitude={self.magnitude}: use 0 to {STRONGEST}")

    @cached_property
    def transform(self) -> Any:
        from torchvision.transforms import v2

        return v2.RandAugment(self.changes, self.magnitude, num_magnitude_bins=STRONGEST + 1)
