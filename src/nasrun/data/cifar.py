"""CIFAR-10, CIFAR-100 and SVHN, as torchvision downloads them or as class folders."""

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from nasrun.data.base import Watched
from nasrun.data.contents import Contents
from nasrun.data.decoded import decoded, look_at
from nasrun.data.facts import Facts
from nasrun.data.images import Stored, TensorDataset, cache_folder
from nasrun.data.layout import FolderLayout, divided, place, read_layout
from nasrun.data.pixels import refuse_too_large, resized
from nasrun.shown import shown

SIDE = 32  # pixels, of all three sets


@dataclass(frozen=True, kw_only=True)
class Release:
    """A published set: its files, and the mean and the deviation of its train images."""

    name: str
    num_classes: int
    num_train: int
    num_test: int
    train_files: str
    test_files: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(kw_only=True, eq=False)
class Downloaded(TensorDataset):
    """A published set with its own test part; validation is held out of the train part.

    root: the folder of the downloaded files, or of `train/<class>` and `test/<class>` folders,
    which may be packed; `None` is the folder with the set's name in the cache folder. download:
    fetch missing files. flip: whether a mirrored image keeps its label.
    """

    release: ClassVar[Release]
    validation: float = 0.5
    root: str | None = None
    download: bool = False
    flip: bool = True

    @abstractmethod
    def load(self, folder: Path, *, test: bool, download: bool) -> Any:
        """Return the torchvision set of this part."""

    @abstractmethod
    def unpack(self, loaded: Any) -> tuple[Tensor, Tensor, tuple[str, ...]]:
        """Return images (N, 3, 32, 32) uint8, labels (N,) int64 and class names."""

    def folder(self) -> Path:
        """Return the folder of the files."""
        return place(str(cache_folder() / self.release.name) if self.root is None else self.root)

    def check(self) -> None:
        files = (self.release.train_files, self.release.test_files)
        kept = min(self.release.num_train, self.images or self.release.num_train)
        refuse_too_large(max(kept, self.release.num_test), 3, self.size or SIDE)
        if self._in_class_folders():
            _ = self.division
        elif not self.download and not all((self.folder() / name).exists() for name in files):
            raise ValueError(self._missing())

    def look(self, watched: Watched) -> None:
        """Check the checksums of downloaded files, and fetch those that are missing."""
        _ = self.division
        if self._in_class_folders():
            look_at(self.layout, self.division, self.size or SIDE, 3, watched)
        else:
            self._read(test=True)

    def contents(self) -> Contents | None:
        """Return the files of class folders; `None` for downloads, whose files are published."""
        return self.layout.contents() if self._in_class_folders() else None

    def stored(self, *, test: bool) -> Stored:
        if self._in_class_folders():
            layout = self.layout
            listing = layout.test if test else layout.training
            size = self.size or SIDE
            return Stored(
                listing.labels,
                lambda chosen: decoded(listing.at(chosen), size, 3),
                classes=layout.classes,
            )
        images, labels, classes = self._read(test=test)
        return Stored(labels, lambda chosen: resized(images[chosen], self.size), classes=classes)

    def describe(self) -> Facts:
        classes = self.layout.classes if self._in_class_folders() else self._read(test=False)[2]
        return Facts(
            name=self.release.name,
            classes=classes,
            channels=3,
            size=self.size or SIDE,
            mean=self.release.mean,
            std=self.release.std,
            flip=self.flip,
        )

    def _in_class_folders(self) -> bool:
        return divided(self.folder())

    @cached_property
    def layout(self) -> FolderLayout:
        """The listing of the class folders."""
        layout, release = read_layout(str(self.folder()), None), self.release
        wrong = None
        if len(layout.classes) != release.num_classes:
            wrong = f"{len(layout.classes)} classes"
        elif layout.held is None:
            wrong = "no test folder"
        elif layout.aside is not None:
            wrong = "a validation folder"
        if wrong is not None:
            raise ValueError(
                f"{self._root}: {shown(self.folder())} has {wrong}, and {release.name} has "
                f"{release.num_classes} classes in a train and a test folder; use "
                "dataset=image_folder for a set of your own"
            )
        return layout

    def _read(self, *, test: bool) -> tuple[Tensor, Tensor, tuple[str, ...]]:
        folder = self.folder()
        try:
            try:
                return self.unpack(self.load(folder, test=test, download=False))
            except (RuntimeError, FileNotFoundError):  # torchvision's "not found or corrupted"
                if not self.download:
                    raise
                return self._fetched(folder, test=test)
        except (RuntimeError, FileNotFoundError) as error:
            raise ValueError(self._missing()) from error

    def _fetched(self, folder: Path, *, test: bool) -> tuple[Tensor, Tensor, tuple[str, ...]]:
        from filelock import FileLock

        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / "download.lock"):  # runs of a sweep start at the same time
                loaded = self.load(folder, test=test, download=True)
        except (OSError, RuntimeError) as error:  # torchvision's "not found or corrupted", too
            raise ValueError(
                f"dataset.download=true: cannot fetch {self.release.name} into {folder} ({error}); "
                "check the internet connection and the folder, or give dataset.root=DIR with the "
                "files"
            ) from error
        return self.unpack(loaded)

    @property
    def _root(self) -> str:
        """The setting as a user types it."""
        return f"dataset.root={'null' if self.root is None else shown(self.root)}"

    def _missing(self) -> str:
        return (
            f"{self._root}: {self.release.name} is not in {self.folder()} (neither its "
            f"unbroken {self.release.train_files} and {self.release.test_files} nor "
            "train/<class>/ folders); type dataset.download=true, or a dataset.root that holds it"
        )


class Cifar(Downloaded):
    """One of the CIFAR sets, which torchvision loads in the same form."""

    def unpack(self, loaded: Any) -> tuple[Tensor, Tensor, tuple[str, ...]]:
        images = torch.from_numpy(loaded.data).permute(0, 3, 1, 2).contiguous()  # stored as NHWC
        return images, torch.tensor(loaded.targets), tuple(loaded.classes)


class Cifar10(Cifar):
    """CIFAR-10 (Krizhevsky 2009): 50,000 + 10,000 colour images of 32 x 32 pixels, 10 classes."""

    release = Release(
        name="cifar10",
        num_classes=10,
        num_train=50_000,
        num_test=10_000,
        train_files="cifar-10-batches-py/data_batch_1",
        test_files="cifar-10-batches-py/test_batch",
        mean=(0.49139968, 0.48215827, 0.44653124),  # DARTS' code
        std=(0.24703233, 0.24348505, 0.26158768),
    )

    def load(self, folder: Path, *, test: bool, download: bool) -> Any:
        from torchvision.datasets import CIFAR10

        return CIFAR10(folder, train=not test, download=download)


class Cifar100(Cifar):
    """CIFAR-100 (Krizhevsky 2009): 50,000 + 10,000 colour images of 32 x 32 pixels, 100 classes."""

    release = Release(
        name="cifar100",
        num_classes=100,
        num_train=50_000,
        num_test=10_000,
        train_files="cifar-100-python/train",
        test_files="cifar-100-python/test",
        mean=(0.5071, 0.4865, 0.4409),  # over the train images
        std=(0.2673, 0.2564, 0.2762),
    )

    def load(self, folder: Path, *, test: bool, download: bool) -> Any:
        from torchvision.datasets import CIFAR100

        return CIFAR100(folder, train=not test, download=download)


@dataclass(kw_only=True, eq=False)
class Svhn(Downloaded):
    """SVHN (Netzer et al. 2011): 73,257 + 26,032 digits of house numbers, without `extra`.

    Images have 32 x 32 pixels. `flip` is off, as a mirrored digit is no longer the same digit.
    """

    release = Release(
        name="svhn",
        num_classes=10,
        num_train=73_257,
        num_test=26_032,
        train_files="train_32x32.mat",
        test_files="test_32x32.mat",
        mean=(0.4377, 0.4438, 0.4728),  # over the train images
        std=(0.1980, 0.2010, 0.1970),
    )
    flip: bool = False

    def load(self, folder: Path, *, test: bool, download: bool) -> Any:
        from torchvision.datasets import SVHN

        return SVHN(folder, split="test" if test else "train", download=download)

    def unpack(self, loaded: Any) -> tuple[Tensor, Tensor, tuple[str, ...]]:
        classes = tuple(str(digit) for digit in range(10))
        return torch.from_numpy(loaded.data), torch.from_numpy(loaded.labels).long(), classes
