"""NAS-Bench-201 and the topology space of NATS-Bench (2001.00326, 2009.00437).

The results of an architecture are those of its trainings for 12 and for 200 epochs, by data set and
seed, with an accuracy per set of images and epoch (`x-test@199`). Columns have the mean over the
seeds after the last epoch, in percent, as the official packages give it:

    cifar10             test: all training images, `ori-test`; val: half of them, `x-valid`
    cifar100            test and val: the halves of the test images, `x-test` and `x-valid`
    imagenet16          as CIFAR-100, of ImageNet16-120
"""

from __future__ import annotations

import bz2
import statistics
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nasrun.data.benchmarks.base import Benchmark, Row
from nasrun.data.benchmarks.pickled import NotPlain, unpickled

COLUMNS = ("test_200ep", "test_12ep", "val_12ep", "val_200ep")
SETS = {
    "cifar10": {"test": ("cifar10", "ori-test"), "val": ("cifar10-valid", "x-valid")},
    "cifar100": {"test": ("cifar100", "x-test"), "val": ("cifar100", "x-valid")},
    "imagenet16": {"test": ("ImageNet16-120", "x-test"), "val": ("ImageNet16-120", "x-valid")},
}
"""The benchmark's names of training and images, by our names of data sets and parts."""
META = "meta.pickle.pbz2"


class NasBench201Files(Benchmark):
    """All its trainings; `architectures` are in the benchmark's order."""

    table = "nasbench201.csv"
    data = tuple(SETS)
    architectures: Sequence[str]

    @abstractmethod
    def trainings(self, index: int) -> Mapping[str, Any]:
        """Return the results of an architecture by number of epochs, "12" and "200"."""

    def __len__(self) -> int:
        return len(self.architectures)

    def header(self, chosen: Sequence[str]) -> list[str]:
        return ["index", "architecture", *(f"{d}_{column}" for d in chosen for column in COLUMNS)]

    def rows(self, chosen: Sequence[str]) -> Iterator[Row]:
        for index, text in enumerate(self.architectures):
            trainings = self.trainings(index)
            row: Row = [index, text]
            for data in chosen:
                for column in COLUMNS:
                    try:
                        row.append(_mean(trainings, data, column))
                    except (LookupError, TypeError, ValueError) as error:
                        raise ValueError(
                            f"architecture {index} has no {data}_{column}; leave {data} out of "
                            "data=, or take a complete file"
                        ) from error
            yield row


class FilePerCell(NasBench201Files):
    """NATS-Bench's folder with one file per architecture."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.architectures = _architectures(_read(path / META), path / META)

    def trainings(self, index: int) -> Mapping[str, Any]:
        path = self.path / f"{index:06d}.pickle.pbz2"
        found = _read(path)
        if not isinstance(found, dict):
            raise ValueError(f"{path}: holds no trainings; take it again from its authors")
        return found


class OneFile(NasBench201Files):
    """One file of all architectures: NATS-Bench's, or NAS-Bench-201's with its other two names."""

    def __init__(self, content: Any, path: Path) -> None:
        self.path = path
        self.architectures = _architectures(content, path)
        self.found = content.get("arch2infos")
        if not isinstance(self.found, dict):
            raise ValueError(f"{path}: holds no trainings; take it again from its authors")

    @classmethod
    def read(cls, path: Path) -> OneFile:
        """Return NATS-Bench's file."""
        return cls(_read(path), path)

    def trainings(self, index: int) -> Mapping[str, Any]:
        found = self.found.get(index)
        if not isinstance(found, dict):
            raise ValueError(f"{self.path}: has no architecture {index}; take a complete file")
        return {"12": found["less"], "200": found["full"]} if "full" in found else found


def _mean(trainings: Mapping[str, Any], data: str, column: str) -> float:
    """Return the mean over the seeds, in percent."""
    part, _, epochs = column.removesuffix("ep").partition("_")
    trained, images = SETS[data][part]
    results = trainings[epochs]
    runs = [results["all_results"][trained, seed] for seed in results["dataset_seed"][trained]]
    found = [run["eval_acc1es"][f"{images}@{run['epochs'] - 1}"] for run in runs]
    return round(statistics.fmean(found), 4)


def _architectures(content: Any, path: Path) -> list[str]:
    """Return the cells that a file lists."""
    found = content.get("meta_archs") if isinstance(content, dict) else None
    if not found or not all(isinstance(text, str) for text in found):
        raise ValueError(f"{path}: lists no architectures; give the file of NAS-Bench-201")
    if "~" not in found[0]:
        raise ValueError(
            f"{path}: its architectures are like {found[0]}; give the topology benchmark, NATS-tss"
        )
    return list(found)


def _read(path: Path) -> Any:
    """Return the plain value in a compressed pickle."""
    try:
        with bz2.open(path) as file:
            return unpickled(file)
    except NotPlain as error:
        raise ValueError(f"{path}: {error}") from error
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); name another") from error
