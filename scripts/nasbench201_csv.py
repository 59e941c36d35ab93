#!/usr/bin/env python3
"""Make the table that `space.table=FILE.csv` reads from the official NAS-Bench-201 files.

    python scripts/nasbench201_csv.py NATS-tss-v1_0-3ffb9-simple nasbench201.csv

BENCHMARK is one of
    NATS-tss-v1_0-3ffb9-simple          a folder, from NATS-Bench; the least memory
    NATS-tss-v1_0-3ffb9.pickle.pbz2     a file, from NATS-Bench
    NAS-Bench-201-v1_1-096897.pth       a file, from NAS-Bench-201
The first two need `pip install nats_bench`, the last `pip install nas-bench-201`. These packages
unpickle the files: take them from where their authors publish them only.

Accuracies are means over the seeds that the benchmark has, in percent. <data>_test_200ep and
<data>_test_12ep are of test images, <data>_val_12ep of validation images. On CIFAR-10 networks are
tested that were trained on all training images, and validated that were trained on half of them.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DATA = {"cifar10": "cifar10", "cifar100": "cifar100", "imagenet16": "ImageNet16-120"}
"""The names in our columns and in the benchmark."""


def main() -> None:
    arguments = parse()
    try:
        if arguments.table.exists():
            raise ValueError(f"{arguments.table}: there is such a file already")
        api = open_benchmark(arguments.benchmark)
        found = list(rows(api, arguments.data))
        with arguments.table.open("x", newline="") as file:
            writer = csv.writer(file)
            names = [name for data in arguments.data for name in columns(data)]
            writer.writerow(["index", "architecture", *names])
            writer.writerows(found)
    except (OSError, ValueError) as error:
        sys.exit(f"nasbench201_csv: {error}")
    print(f"{arguments.table}: {len(found):,} architectures")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("benchmark", metavar="BENCHMARK", type=Path)
    parser.add_argument("table", metavar="FILE.csv", type=Path, help="must not exist yet")
    parser.add_argument(
        "--data",
        nargs="+",
        choices=DATA,
        default=["cifar10"],
        help="the data sets to write the columns of (cifar10)",
    )
    return parser.parse_args()


def open_benchmark(path: Path) -> Any:
    """The API of the benchmark at a path; ValueError if its package or the files are missing."""
    if not path.exists():
        raise ValueError(f"{path}: there is no such file or folder")
    if path.suffix == ".pth":
        try:
            from nas_201_api import NASBench201API
        except ModuleNotFoundError as error:
            raise ValueError(f"{path}: needs `pip install nas-bench-201`") from error
        # It calls torch.load as it was before PyTorch 2.6.
        os.environ.setdefault("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
        return NASBench201API(str(path), verbose=False)
    try:
        from nats_bench import create
    except ModuleNotFoundError as error:
        raise ValueError(f"{path}: needs `pip install nats_bench`") from error
    return create(str(path), "tss", fast_mode=path.is_dir(), verbose=False)


def columns(data: str) -> list[str]:
    return [f"{data}_test_200ep", f"{data}_test_12ep", f"{data}_val_12ep"]


def rows(api: Any, chosen: list[str]) -> Iterator[list[Any]]:
    """A row per architecture, in the order of the benchmark."""
    for index in range(len(api)):
        values = []
        for data in chosen:
            theirs = DATA[data]
            # Networks trained on all of CIFAR-10's training images have none to validate on.
            validated = "cifar10-valid" if data == "cifar10" else theirs
            values += [
                accuracy(api, index, theirs, "test-accuracy", "200"),
                accuracy(api, index, theirs, "test-accuracy", "12"),
                accuracy(api, index, validated, "valid-accuracy", "12"),
            ]
        yield [index, api.arch(index), *values]
        if (index + 1) % 1000 == 0:
            print(f"{index + 1:,} of {len(api):,}", file=sys.stderr)


def accuracy(api: Any, index: int, data: str, key: str, epochs: str) -> float:
    """The mean over all seeds, in percent."""
    found = api.get_more_info(index, data, hp=epochs, is_random=False)
    if key not in found:
        raise ValueError(f"architecture {index} has no {key} on {data} after {epochs} epochs")
    return round(found[key], 4)


if __name__ == "__main__":
    main()
