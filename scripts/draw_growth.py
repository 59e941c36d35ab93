#!/usr/bin/env python3
"""Draws how good the best network is after so many seconds of training, in searches that grow them.

scripts/draw_growth.py FOLDER --data growth.json --picture growth.svg

FOLDER has the runs, such as those of `nasrun reproduce autokeras_morphs`. The accuracy is that of
the best network so far, as the search has trained it, on the validation images. A line is the mean
over the runs of a strategy, its band reaches from the smallest to the largest.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

AT = tuple(range(10, 301, 10))
"""Seconds of training after which the best network is noted."""

Curves = dict[str, dict[str, list[float]]]
"""Best accuracy at each of `AT`, per strategy and seed."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--picture", type=Path, required=True)
    arguments = parser.parse_args()
    found = read(arguments.folder)
    if not found:
        raise SystemExit(f"{arguments.folder}: no run in it has a search/tree.json; name another")
    arguments.data.write_text(json.dumps({"seconds": AT, "best": found}, indent=1) + "\n")
    draw(found, arguments.picture)
    print("| strategy | n | " + " | ".join(f"{second} s" for second in AT[2::3]) + " |")
    for name, curves in found.items():
        means = [statistics.fmean(each) for each in zip(*curves.values(), strict=True)]
        print(f"| {name} | {len(curves)} | " + " | ".join(f"{m:.1%}" for m in means[2::3]) + " |")


def read(folder: Path) -> Curves:
    """Return the curves of all runs below a folder."""
    found: Curves = {}
    for tree in sorted(folder.glob("**/search/tree.json")):
        record = json.loads((tree.parents[1] / "run.json").read_text())
        own = found.setdefault(record["choices"]["strategy"], {})
        own[str(record["seed"])] = best_after(json.loads(tree.read_text()))
    return found


def best_after(trials: Sequence[dict[str, list[float]]]) -> list[float]:
    """Return the best score of all intervals that ended by each of `AT`."""
    spent, ends = 0.0, []
    for trial in trials:
        for score, seconds in zip(trial["scores"], trial["seconds"], strict=True):
            spent += seconds
            ends.append((spent, score))
    return [max((score for end, score in ends if end <= second), default=0.0) for second in AT]


def draw(found: Curves, path: Path) -> None:
    from nasrun.pictures.figure import COLOURS, INK, blank, dress, save

    figure = blank(7, 4)
    axes = figure.add_subplot()
    for (name, curves), colour in zip(found.items(), COLOURS, strict=False):
        columns = [[100 * (1 - y) for y in each] for each in zip(*curves.values(), strict=True)]
        axes.fill_between(
            AT, [min(c) for c in columns], [max(c) for c in columns], color=colour, alpha=0.12, lw=0
        )
        axes.plot(AT, [statistics.fmean(c) for c in columns], color=colour, label=name)
    dress(axes, "Validation error of the best network so far, %", "seconds of training")
    axes.legend(frameon=False, labelcolor=INK)
    save(figure, path, metadata={"Date": None})


if __name__ == "__main__":
    main()
