"""`nasrun predict RUN IMAGES...`: classifies images with a run's trained network."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nasrun.cli import screen
from nasrun.cli.verb import Verb
from nasrun.cli.words import one_of, run_folders, sorted_out, whole
from nasrun.config.words import packages

if TYPE_CHECKING:
    from nasrun.runs.predictions import Prediction

KEYS = {"top": "5", "format": "table|json|csv", "branch": "NAME", "trust": "[PACKAGE]"}
FORMATS = ("table", "json", "csv")


def predict(words: Sequence[str]) -> int:
    """Classify every image and print its likeliest classes."""
    keys, names = sorted_out(words, KEYS)
    if len(names) < 2:
        raise ValueError("predict: give the folder of a run, then images or folders of images")
    form, top = one_of(keys, "format", FORMATS), whole(keys, "top", 5, least=1)
    run, *images = names
    from nasrun.display import watched
    from nasrun.runs import predictions
    from nasrun.runs.finished import load

    paths = predictions.image_files(images)
    network = load(run, keys.get("branch"), packages(keys.get("trust", "")))
    count = len(network.classes)
    if "top" in keys and top > count:
        raise ValueError(f"top={top}: the network knows {count} classes; use {count} or fewer")
    files_watched = watched(paths, "classifying", len(paths))
    _print(predictions.predict(network, files_watched, min(top, count)), form)
    return 0


def _print(found: Sequence[Prediction], form: str) -> None:
    """Print probabilities, as fractions for programs and in percent on the screen."""
    if form == "json":
        records = [
            {
                "image": str(each.path),
                "classes": [{"class": name, "probability": p} for name, p in each.classes],
            }
            for each in found
        ]
        from nasrun.files import as_json

        print(as_json(records, indent=2))
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(("image", "rank", "class", "probability"))
        for each in found:
            for rank, (name, p) in enumerate(each.classes, 1):
                writer.writerow((each.path, rank, name, p))
    else:
        from nasrun.display import percent, table

        rows = []
        for each in found:
            (name, p), *others = each.classes
            then = ", ".join(f"{name} {percent(p)}" for name, p in others)
            rows.append((each.path, name, percent(p), then))
        table(screen.console(), "", ("image", "class", "probability", "then"), rows)


VERBS = (
    Verb(
        name="predict",
        text="classify images with a trained network (predict RUN IMAGES...)",
        examples=(
            "nasrun predict outputs/digits-darts-darts/v001 picture.png",
            "nasrun predict outputs/digits-darts-darts/v001 folder/ format=csv top=3 > classes.csv",
        ),
        run=predict,
        note="IMAGES are files and folders. Every image is cropped, scaled and normalised as the "
        "test images of the run were.",
        keys=KEYS,
        about={
            "top": "how many classes per image",
            "branch": "which training of the run; the newest if it is left out",
            "trust": "packages of your own that the run's configuration names",
        },
        offers=run_folders,
    ),
)
