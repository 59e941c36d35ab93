"""`nasrun export RUN format=onnx`: writes a trained network for use without nasrun."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nasrun.cli.verb import Verb
from nasrun.cli.words import one_of, run_folders, sorted_out
from nasrun.config.words import packages
from nasrun.runs.formats import FORMATS

KEYS = {"format": "|".join(FORMATS), "branch": "NAME", "trust": "[PACKAGE]"}


def export(words: Sequence[str]) -> int:
    """Write the trained network of a run, and compare its outputs."""
    keys, names = sorted_out(words, KEYS)
    if len(names) != 1:
        raise ValueError("export: give the folder of one run; `nasrun list runs` shows the runs")
    form = one_of(keys, "format", tuple(FORMATS))
    from nasrun.runs.finished import load, trained_folder
    from nasrun.runs.run import Run

    folder = trained_folder(Path(names[0]), keys.get("branch"), searched=True)
    path = folder.path / f"network.{form}"
    with Run(folder.path.parents[1]).lock():
        network = load(folder.path, trust=packages(keys.get("trust", "")))
        difference = network.export(path, FORMATS[form])
    print(f"{path}  largest difference of the outputs {difference:.1e}")
    return 0


VERBS = (
    Verb(
        name="export",
        text="write a trained network for use without nasrun, and check that its outputs agree",
        examples=(
            "nasrun export outputs/digits-darts-darts/v001 format=onnx",
            "nasrun export outputs/digits-darts-darts/v001 format=pt2",
        ),
        run=export,
        keys=KEYS,
        about={
            "format": "ONNX, or an archive of torch.export, which needs torch alone",
            "branch": "which training of the run; the newest if it is left out",
            "trust": "packages of your own that the run's configuration names",
        },
        offers=run_folders,
    ),
)
