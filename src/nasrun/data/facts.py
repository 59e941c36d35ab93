"""What of an image set a network and a task need to know."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Facts:
    """What a network and a task need to know of a set; it holds no pixels.

    classes: names, in the order of the labels. channels, size: of the square images, in pixels.
    mean, std: per channel, of pixels scaled to 0 .. 1. flip: a mirrored image keeps its label.
    kept: the side of the central square that a test sees, as a fraction of an original's shorter.
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
        if min(self.std) <= 0:
            raise ValueError(f"facts.std={self.std}: use numbers above 0")
        if not 0 < self.kept <= 1:
            raise ValueError(f"facts.kept={self.kept}: use a fraction above 0, or 1")

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes)
