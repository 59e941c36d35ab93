"""`nasrun analyze landscape`: the loss around trained networks, and between two of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nasrun.cli import screen
from nasrun.cli.line import Line
from nasrun.cli.verb import Verb
from nasrun.cli.words import apart, one_of, whole
from nasrun.config.keys import ROOT

KEYS = {
    "solution": "RUN|FILE,...",
    "branch": "NAME",
    "grid": "11",
    "extent": "1.0",
    "line": "0",
    "part": "test|train|validation",
    "images": "1000",
    "batch_size": "100",
    "norms": "stored|recalibrated",
    "seed": "0",
    ROOT: "DIR",
    "out": "DIR",
}
READS = ("budget", "engine")


def landscape(words: Sequence[str]) -> int:
    """Measure, write `landscape.json` and pictures, and print."""
    own, rest = apart(words, KEYS)
    line = Line.parse("analyze landscape", rest)
    line.refuse_flags()
    line.refuse_idle(READS)
    paths = [path for path in own.get("solution", "").split(",") if path]
    if not paths:
        raise ValueError("analyze landscape: give solution=RUN,... or solution=FILE,...")
    grid, joined = whole(own, "grid", 11, least=0), whole(own, "line", 0, least=0)
    if grid and (grid < 3 or grid % 2 == 0):
        raise ValueError(f"grid={grid}: use an odd number, at least 3, or 0 for no grid")
    if grid == joined == 0:
        raise ValueError(f"grid={grid} line={joined}: nothing to measure; use line=11, or a grid")
    if joined in (1, 2):
        raise ValueError(f"line={joined}: use at least 3 points, or 0 for no line")
    images = whole(own, "images", 1000, least=3)
    settings: dict[str, Any] = {
        "grid": grid,
        "extent": _extent(own),
        "line": joined,
        "part": one_of(own, "part", ("test", "train", "validation")),
        "images": images,
        "recalibrated": one_of(own, "norms", ("stored", "recalibrated")) == "recalibrated",
        "seed": whole(own, "seed", 0, least=0),
    }
    from nasrun.analysis import landscape as measured
    from nasrun.display import tell

    batch_size = whole(own, "batch_size", measured.batches_of(images), least=2)
    record = measured.analyse(
        paths,
        measured.Where(**settings, batch_size=batch_size),
        line.overrides,
        typed=own,
        branch=own.get("branch"),
        root=own.get(ROOT),
        out=own.get("out"),
        trust=line.trusted,
    )
    tell(screen.console(), (*measured.told(record), *record["pictures"]))
    return 0


def _extent(own: Mapping[str, str]) -> float:
    try:
        value = float(own.get("extent", "1.0"))
    except ValueError:
        raise ValueError(f"extent={own['extent']}: expected a number; use 1.0") from None
    if not 0 < value < float("inf"):
        raise ValueError(f"extent={own['extent']}: use more than 0")
    return value


PART = Verb(
    name="analyze landscape",
    text="draw loss and gradient variance around trained networks, and between two of them",
    examples=(
        "nasrun analyze landscape solution=outputs/digits-darts-darts/v001",
        "nasrun analyze landscape solution=c/weights/a-seed0-1c8f03ab.safetensors,"
        "c/weights/a-seed1-1c8f03ab.safetensors line=21 grid=0",
    ),
    run=landscape,
    keeps="rows",
    note="Directions are random and filter-normalised. Rows are measured side by side and kept, so "
    "that an interrupted command resumes.",
    keys=KEYS,
    about={
        "solution": "runs with a retraining, or weights of `analyze convergence`, by commas",
        "branch": "the retraining in a run that has several",
        "grid": "points per side of the grid, odd; 0 for none",
        "extent": "the grid reaches from -extent to extent in filter norms",
        "line": "points on the line through two solutions of one cell; 0 for none",
        "part": "the part whose images are used: test, as in the paper, train or validation",
        "images": "number of images, a fixed stratified part; all of a set with fewer than 1000",
        "batch_size": "images per batch, over which the gradient varies; 100, or half the images",
        "norms": "statistics of batch norms: those of the training, or new ones at every point",
        "seed": "seed of the directions",
        ROOT: "the place of the solutions' data, if they were moved",
        "out": "folder of the files; outputs/analysis/landscape if it is left out",
    },
    composed=True,
    reads=READS,
)
