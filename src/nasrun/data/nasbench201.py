"""Converts the official NAS-Bench-201 files (2001.00326, 2009.00437) to the CSV of `space.table`.

The official packages unpickle them. Accuracies are means over the benchmark's seeds, in percent:
`<data>_test_200ep` and `<data>_test_12ep` on test images, `<data>_val_12ep` on validation images.
On CIFAR-10, test accuracies are of networks trained on all training images, validation accuracies
of networks trained on half of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

DATA = {"cifar10": "cifar10", "cifar100": "cifar100", "imagenet16": "ImageNet16-120"}
"""The benchmark's names by our names of data sets."""
Row = list[Any]


def open_benchmark(path: Path) -> Any:
    """Return the benchmark's API for a path; ValueError if its package or the files are missing."""
    if not path.exists():
        raise ValueError(f"{path}: there is no such file or folder")
    if path.suffix == ".pth":
        try:
            from nas_201_api import NASBench201API
        except ModuleNotFoundError as error:
            raise ValueError(
                f"{path}: needs a package; type `pip install nas-bench-201`"
            ) from error
        # It relies on the default of torch.load before PyTorch 2.6.
        os.environ.setdefault("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
        return NASBench201API(str(path), verbose=False)
    try:
        from nats_bench import create
    except ModuleNotFoundError as error:
        raise ValueError(f"{path}: needs a package; type `pip install nats_bench`") from error
    return create(str(path), "tss", fast_mode=path.is_dir(), verbose=False)


def header(chosen: Sequence[str]) -> list[str]:
    """Return the names of the columns for these data sets."""
    columns = ("{}_test_200ep", "{}_test_12ep", "{}_val_12ep")
    return ["index", "architecture", *(name.format(data) for data in chosen for name in columns)]


def rows(api: Any, chosen: Sequence[str]) -> Iterator[Row]:
    """Yield one row per architecture in the benchmark's order; there are `len(api)`."""
    for index in range(len(api)):
        values = []
        for data in chosen:
            theirs = DATA[data]
            # Networks trained on all of CIFAR-10's training images have no validation images.
            validated = "cifar10-valid" if data == "cifar10" else theirs
            values += [
                _accuracy(api, index, theirs, "test-accuracy", "200"),
                _accuracy(api, index, theirs, "test-accuracy", "12"),
                _accuracy(api, index, validated, "valid-accuracy", "12"),
            ]
        yield [index, api.arch(index), *values]


def _accuracy(api: Any, index: int, data: str, key: str, epochs: str) -> float:
    """Return the mean over all seeds, in percent."""
    found = api.get_more_info(index, data, hp=epochs, is_random=False)
    if key not in found:
        raise ValueError(f"architecture {index} has no {key} on {data} after {epochs} epochs")
    return round(found[key], 4)
