"""`nasrun export RUN format=onnx`: writes a trained network as ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nasrun.cli.verb import Verb
from nasrun.cli.words import run_folders, sorted_out
from nasrun.config.words import packages

KEYS = {"format": "onnx", "branch": "NAME", "trust": "[PACKAGE]"}


def export(words: Sequence[str]) -> int:
    """Write the trained network of a run, and compare its outputs."""
    keys, names = sorted_out(words, KEYS)
    if len(names) != 1:
        raise ValueError("export: give the folder of one run; `nasrun list runs` shows the runs")
    if keys.get("format", "onnx") != "onnx":
        raise ValueError(f"format={keys['format']}: use onnx")
    from nasrun.runs.finished import load, trained_folder
    from nasrun.runs.run import Run

    folder = trained_folder(Path(names[0]), keys.get("branch"))
    path = folder.path / "network.onnx"
    with Run(folder.path.parents[1]).lock():
        difference = load(folder.path, trust=packages(keys.get("trust", ""))).export(path)
    print(f"{path}  largest difference of the outputs {difference:.1e}")
    return 0


VERBS = (
    Verb(
        name="export",
        text="write a trained network as ONNX, and check that its outputs agree",
        examples=("nasrun export outputs/digits-darts-darts/v001 format=onnx",),
        run=export,
        keys=KEYS,
        about={
            "branch": "which training of the run; the newest if it is left out",
            "trust": "packages of your own that the run's configuration names",
        },
        offers=run_folders,
    ),
)
