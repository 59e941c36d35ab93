#!/usr/bin/env python3
"""Times our loaders of image files against torchvision's plain one, in images per second.

    scripts/bench_loader.py --root /data/ILSVRC2012/val      # any folder with JPEGs in it
    scripts/bench_loader.py --root DIR --jitter 0 --images 1000 --json loader.json

All read the first --images JPEGs below the root, repeatedly if there are fewer: a random crop
scaled to the size, mirrored at random, colours changed, normalised. `ours` is `dataset=imagenet`,
`torchvision` its ImageFolder with a DataLoader, `decode` only opens every file as RGB: a lower
bound for everything that decodes whole JPEGs with Pillow. The number is that of worker processes, 0
for the main process; starting them is part of the time. `in memory` is `dataset=image_folder` at 64
pixels, which has decoded every image before.

--clock cpu counts the CPU time of all processes, so that other work on the machine does not count,
and gives images per second and core. --enlarge 3 reads copies of the images with three times as
many pixels per side, as photographs come from cameras today.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path

import alternation

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # torchvision's, over ILSVRC2012's train


def main() -> None:
    arguments = parse()
    import torch

    from nasrun.machine import allocate

    torch.set_num_threads(arguments.threads)
    allocate(frugally=False)  # as a training does
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NASRUN_CACHE"] = str(Path(folder) / "cache")
        gather(arguments, Path(folder) / "images")
        runs = passes(arguments, Path(folder) / "images")
        times = alternation.in_turn(runs, arguments.repeats, arguments.clock)
    rates = {}
    for name, seconds in times.seconds.items():
        each = sorted(arguments.images / taken for taken in seconds)
        rates[name] = arguments.images / times.median(name)
        print(f"{name:14}{rates[name]:8.0f} images/s ({each[0]:.0f} to {each[-1]:.0f})")
    ratios = {}
    for workers in arguments.workers:
        ours, theirs, decode = (f"{name} {workers}" for name in ("ours", "torchvision", "decode"))
        ratios[workers] = times.ratio(theirs, ours)
        print(
            f"{workers} workers: {times.compared(theirs, ours)} torchvision's rate, "
            f"{100 * times.ratio(decode, ours):.0f} % of decoding alone"
        )
    alternation.write(arguments, times, rates=rates, ratio=ratios)


def parse() -> argparse.Namespace:
    parser = alternation.parser(__doc__, repeats=3)
    parser.add_argument("--root", required=True, help="a folder with JPEGs in it, at any depth")
    parser.add_argument("--images", type=int, default=300, help="of a pass")
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--size", type=int, default=224, help="the crops' side in pixels")
    parser.add_argument("--jitter", type=float, default=0.4, help="of colours; hue gets half of it")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=list(alternation.CLOCKS), default="wall")
    parser.add_argument("--enlarge", type=int, default=1, help="pixels per side, as a multiple")
    return parser.parse_args()


def gather(arguments: argparse.Namespace, folder: Path) -> None:
    """Copy the images into two classes, as train part; the val part has one of each class."""
    root = Path(arguments.root).absolute()
    found = sorted(p for p in root.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
    if not found:
        raise SystemExit(f"--root {root}: no .jpg or .jpeg below it")
    if arguments.enlarge > 1:
        found = [enlarged(p, folder.parent, arguments.enlarge) for p in found[: arguments.images]]
    for number, path in enumerate(islice(cycle(found), arguments.images)):
        for part in ("train", "val") if number < 2 else ("train",):
            copy = folder / part / f"class{number % 2}" / f"{number:06}.jpg"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


def enlarged(path: Path, folder: Path, times: int) -> Path:
    """Write an enlarged copy of a JPEG, with the quality of cameras."""
    from PIL import Image

    image = Image.open(path).convert("RGB")
    image = image.resize((image.width * times, image.height * times), Image.Resampling.BICUBIC)
    copy = folder / "enlarged" / f"{path.parent.name}-{path.name}"
    copy.parent.mkdir(exist_ok=True)
    image.save(copy, "JPEG", quality=92)
    return copy


def passes(arguments: argparse.Namespace, folder: Path) -> dict[str, Callable[[], None]]:
    """Return one pass over the images for every loader."""
    import torch
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    from nasrun.data.augment import Augment
    from nasrun.data.folder import ImageFolder
    from nasrun.data.imagenet import ImageNet

    jitter = arguments.jitter
    change = Augment(padding=0, resized_crop=(0.08, 1.0), jitter=jitter)
    per_image = [
        transforms.RandomResizedCrop(arguments.size),
        transforms.RandomHorizontalFlip(),
        *([transforms.ColorJitter(jitter, jitter, jitter, jitter / 2)] if jitter else []),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ]
    plain = datasets.ImageFolder(str(folder / "train"), transforms.Compose(per_image))
    nothing = torch.zeros(0)
    bare = datasets.ImageFolder(str(folder / "train"), lambda image: nothing)  # it is RGB already
    cpu = torch.device("cpu")

    def reader(loader: DataLoader) -> Callable[[], None]:
        def run() -> None:
            seen = sum(len(labels) for _, labels in loader)
            assert seen == arguments.images

        return run

    def ours(dataset: ImageFolder | ImageNet) -> Callable[[], None]:
        split = dataset.split("train", device=cpu)

        def run() -> None:
            seen = sum(len(labels) for _, labels in split.batches(arguments.batch, augment=change))
            assert seen == arguments.images

        return run

    found: dict[str, Callable[[], None]] = {}
    for workers in arguments.workers:
        how = {"batch_size": arguments.batch, "num_workers": workers}
        imagenet = ImageNet(root=str(folder), size=arguments.size, workers=workers, validation=0.0)
        found[f"decode {workers}"] = reader(DataLoader(bare, **how))
        found[f"torchvision {workers}"] = reader(DataLoader(plain, **how))
        found[f"ours {workers}"] = ours(imagenet)
    found["in memory"] = ours(ImageFolder(root=str(folder), size=64, validation=0.0))
    return found


if __name__ == "__main__":
    main()
