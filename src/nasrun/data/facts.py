"""The facts about an image set that networks and tasks need."""

from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True)
class Facts:
    """The facts about an image set that networks and tasks need; it holds no pixels.

    classes: names, in the order of the labels. channels, size: of the square images, in pixels.
    mean, std: per channel, of pixels scaled to 0 .. 1. flip: whether a mirrored image keeps its
    label. kept: the side of the central square used in evaluation, as a fraction of the shorter
    side.
    """

    name: str
    classes: tuple[str, ...]
    channels: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool
    kept: float = 1.0

    def __post_init__(self) -> None:
        for key in ("mean", "std"):
            if len(getattr(self, key)) != self.channels:
                raise ValueError(
                    f"facts.{key}={getattr(self, key)}: use one number per channel, "
                    f"{self.channels} in all"
                )
        ((name, times),) = Counter(self.classes).most_common(1) or [("", 1)]
        if times > 1:
            raise ValueError(
                f"facts.classes: {name} is there {times} times; give each class a name of its own"
            )
        if min(self.std) <= 0:
            raise ValueError(f"facts.std={self.std}: use numbers above 0")
        if not 0 < self.kept <= 1:
            raise ValueError(f"facts.kept={self.kept}: use a fraction above 0, or 1")

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)
