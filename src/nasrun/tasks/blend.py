"""Mixing of images and labels within a batch, by torchvision's transforms.

mixup averages two images and their labels with a weight from Beta(alpha, alpha) (Zhang et al.,
1710.09412); CutMix pastes a rectangle of one into the other and weighs labels by area (Yun et al.,
1905.04899). As in the released codes, one weight serves the whole batch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from nasrun.data.policies import reseeded


@dataclass(frozen=True, kw_only=True)
class Blend:
    """mixup or CutMix of each training batch, one of them with equal probability.

    mixup, cutmix: their alphas; with 0, the other one is always used. The images of a batch are
    mixed with each other; if several processes share it, with those of the same process.
    """

    mixup: float
    cutmix: float

    def __post_init__(self) -> None:
        for key in ("mixup", "cutmix"):
            if getattr(self, key) < 0:
                raise ValueError(f"blend.{key}={getattr(self, key)}: use 0 or more")
        if self.mixup == self.cutmix == 0:
            raise ValueError("blend.mixup=0: blend.cutmix is 0, too; use blend=null")

    def __call__(
        self,
        images: Tensor,
        labels: Tensor,
        classes: int,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return mixed images (B, C, H, W) and the probabilities (B, classes) of their labels.

        All random numbers follow from one of the generator, or of torch's global one, on the CPU.
        """
        from torchvision.transforms import v2

        with reseeded(int(torch.randint(2**62, (), generator=generator))):
            first = bool(torch.rand(()) < 0.5)
            if self.cutmix == 0 or (first and self.mixup > 0):
                mix = v2.MixUp(alpha=self.mixup, num_classes=classes)
            else:
                mix = v2.CutMix(alpha=self.cutmix, num_classes=classes)
            mixed, shares = mix(images, labels)
        return mixed.contiguous(memory_format=torch.channels_last), shares
