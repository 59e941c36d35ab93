"""`nasrun pack FOLDER out=PACKED`: packs the images of a folder into a few tar files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nasrun.cli.verb import Verb
from nasrun.cli.words import sorted_out, whole

KEYS = {"out": "FOLDER", "images": "5000", "side": "PIXELS", "quality": "95"}


def pack(words: Sequence[str]) -> int:
    """Write the shards that are missing, and the index."""
    keys, names = sorted_out(words, KEYS)
    if len(names) != 1 or "out" not in keys:
        raise ValueError("pack: give one folder of images, and out=FOLDER for its shards")
    images = whole(keys, "images", 5000, least=1)
    side = whole(keys, "side", 0, least=1) if "side" in keys else None
    quality = whole(keys, "quality", 95, least=1)
    if quality > 100:
        raise ValueError(f"quality={quality}: use 100 or less")
    if "quality" in keys and side is None:
        raise ValueError(f"quality={quality}: images are kept as they are; add side=PIXELS")
    source, out = Path(names[0]), Path(keys["out"])
    if out.resolve().is_relative_to(source.resolve()):
        raise ValueError(f"out={out}: it lies in the folder that is packed; name one outside")
    from nasrun.data import packing
    from nasrun.display import watched

    how = packing.Packing(images=images, side=side, quality=quality)
    index = packing.pack(names[0], out, how, watched)
    packed = sum(len(columns["names"]) for columns in index.parts.values())
    size = sum(index.shards.values()) / 2**20
    print(f"{out}: {packed:,} images in {len(index.shards):,} shards of {size:,.0f} MiB in all")
    return 0


VERBS = (
    Verb(
        name="pack",
        text="pack a folder of images into tar files that load as it does (pack FOLDER out=PACKED)",
        examples=(
            "nasrun pack /data/ILSVRC2012 out=/data/packed",
            "nasrun pack /data/ILSVRC2012 out=/data/packed256 side=256",
            "nasrun transfer transfer=imagenet transfer.dataset.root=/data/packed",
        ),
        run=pack,
        keeps="shards",
        note="dataset.root=PACKED takes the place of the folder, with the same images in the same "
        "parts. WebDataset reads the tar files too. An interrupted packing goes on with the same "
        "command.",
        keys=KEYS,
        about={
            "out": "the folder to make",
            "images": "how many images per tar file",
            "side": "scale the shorter side of larger images to this many pixels, as JPEG",
            "quality": "quality of these JPEGs, 1 to 100",
        },
    ),
)
