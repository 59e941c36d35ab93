#!/usr/bin/env python
"""Measure what Auto-Keras claims: Bayesian optimisation finds better morphs than its rivals.

    scripts/morph_claims.py run --cifar CIFAR      searches and retrainings that are missing
    scripts/morph_claims.py table                  what is finished so far, as Markdown
    scripts/morph_claims.py draw --out FILE.png    error over the seconds of training

`run` goes seed by seed, so that what is finished is paired. Every job is a `nasrun` command: it
continues where it was stopped. A search ends after equal seconds of training; what it found is then
retrained in the same way in every arm. A finished one is a line of --found, and is not done again.
docs/results.md has the protocol.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from evidence import compare, nasrun, spread
from novelty_claims import append

ARMS = ("autokeras", "autokeras_random", "autokeras_breadth", "autokeras_scratch")
"""Bayesian morphism, random morphs, breadth first, and Bayesian optimisation without morphism."""
PUBLISHED = ("11.44", "16.86 (without morphs)", "13.84", "12.90")
"""Test errors on CIFAR-10 in per cent (1806.10282 table 1)."""
SECONDS = 600.0
"""Training per search; choosing is not counted."""
DATA = ("dataset=cifar10", "dataset.size=16", "space=morph")
SEARCH = (
    *("width=8", "task.share=0.2", "strategy.trials=1000"),
    *("budget.threads=1", "engine=serial"),
)
"""5,000 images to train on and 5,000 to validate, as many trials as fit into the time."""
RETRAIN = (
    *("retrain=morph", "retrain.epochs=20", "retrain.data=train", "retrain.task.share=0.2"),
    "budget.threads=1",
)
"""Twenty epochs from scratch on the same images; validation images are kept apart."""

Line = dict[str, Any]


def main() -> None:
    """Run what is missing, print the table, or draw the errors."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["run", "table", "draw"])
    parser.add_argument("--cifar", help="CIFAR-10's folder")
    parser.add_argument("--outputs", type=Path, default=Path("outputs/morphs"))
    parser.add_argument("--found", type=Path, default=Path("outputs/morphs/found.jsonl"))
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--out", type=Path, default=Path("outputs/morphs/error.png"))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), help="only these")
    parser.add_argument("--set", nargs="*", default=[], help="more words of a search, for a trial")
    parser.add_argument("--retrain", nargs="*", default=[], help="more words of a retraining")
    words = parser.parse_args()
    if words.what == "table":
        tell(read(words.found))
        return
    if words.what == "draw":
        draw(read(words.found), words.out)
        return
    if words.cifar is None:
        parser.error("--cifar: needed to run")
    for seed in range(words.seeds):
        for arm in words.arms:
            if (arm, seed) not in read(words.found):
                found = measured(arm, seed, words)
                if found is not None:
                    append(words.found, found)
                    print(f"seed {seed}: {arm}", flush=True)


def search(arm: str, seed: int, seconds: float) -> list[str]:
    """Return the words of a search with its selection."""
    words = (*DATA, *SEARCH, f"strategy={arm}", f"strategy.seconds={seconds:g}", f"seed={seed}")
    return ["run", "stages=[search,select]", *words]


def measured(arm: str, seed: int, words: argparse.Namespace) -> Line | None:
    """Search and retrain, and return what came out; `None` if a command fails."""
    outputs = words.outputs / arm / f"seed{seed}"
    root = f"dataset.root={words.cifar}"
    command = search(arm, seed, words.seconds)
    if not nasrun([*command, root, f"outputs={outputs}", *words.set]):
        return None
    (run,) = outputs.glob("*/v*")
    if not nasrun(["retrain", f"run={run}", *RETRAIN, *words.retrain]):
        return None
    (retrained,) = run.glob("retrain/*/result.json")
    result, chosen = (
        json.loads(path.read_text()) for path in (retrained, run / "select/fittest/result.json")
    )
    tree = json.loads((run / "search/tree.json").read_text())
    return {
        "arm": arm,
        "seed": seed,
        "git": json.loads((run / "run.json").read_text())["git"],
        "validation_accuracy": result["validation_accuracy"],
        "test_accuracy": result["test_accuracy"],
        "searched_accuracy": chosen["validation_accuracy"],
        "delivered_accuracy": chosen["test_accuracy"],
        "genotype": chosen["genotype"],
        "params": result["params"],
        "trials": len(tree),
        "curve": curve(tree),
    }


def curve(tree: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """Return the best validation accuracy so far over the seconds of training."""
    seconds = accumulate(each for trial in tree for each in trial["seconds"])
    scores = (score or 0.0 for trial in tree for score in trial["scores"])  # a failure has none
    return list(zip((round(s, 1) for s in seconds), accumulate(scores, max), strict=True))


def read(path: Path) -> dict[tuple[str, int], Line]:
    """Return what is finished, by arm and seed; a last line that was cut off is none."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    found = [json.loads(line) for line in lines if line.endswith("\n")]
    return {(line["arm"], line["seed"]): line for line in found}


def error(line: Line, of: str) -> float:
    """Return the error of a retrained network."""
    return 1 - line[f"{of}_accuracy"]


def tell(found: Mapping[tuple[str, int], Line]) -> None:
    """Print a row per arm, and the comparisons with each rival."""
    print("| arm | n | validation error, % | n | test error, % | published, % | ", end="")
    print("trials | parameters, thousands |\n|---|---|---|---|---|---|---|---|")
    for arm, published in zip(ARMS, PUBLISHED, strict=True):
        lines = [line for (name, _), line in sorted(found.items()) if name == arm]
        errors = [
            spread([100 * error(each, of) for each in lines]) for of in ("validation", "test")
        ]
        trials = ", ".join(str(line["trials"]) for line in lines)
        params = ", ".join(f"{line['params'] / 1e3:.0f}" for line in lines)
        print(f"| {arm} | {' | '.join(errors)} | {published} | {trials} | {params} |")
    ours, *rivals = ARMS
    for rival in rivals:
        seeds = sorted(seed for name, seed in found if name == ours and (rival, seed) in found)
        for of in ("test", "validation"):
            pairs = [(error(found[rival, s], of), error(found[ours, s], of)) for s in seeds]
            compare(f"{rival} has a larger {of} error than {ours}, %", (rival, ours), pairs)


def draw(found: Mapping[tuple[str, int], Line], path: Path) -> None:
    """Draw the mean over seeds of the best validation error so far, per arm."""
    from nasrun.pictures.figure import COLOURS, blank, dress, save

    figure = blank(8, 4.5)
    axes = figure.subplots()
    for arm, colour in zip(ARMS, COLOURS, strict=False):
        curves = [line["curve"] for (name, _), line in sorted(found.items()) if name == arm]
        if not curves:
            continue
        first = max(points[0][0] for points in curves)
        times = sorted({t for points in curves for t, _ in points if t >= first})
        errors = [[100 - 100 * _at(points, t) for points in curves] for t in times]
        means = [sum(row) / len(row) for row in errors]
        axes.step(times, means, where="post", color=colour, label=arm)
        bounds = [[pick(row) for row in errors] for pick in (min, max)]
        axes.fill_between(times, *bounds, step="post", color=colour, alpha=0.12, linewidth=0)
    dress(axes, "Best validation error so far, mean and range", "seconds of training")
    axes.set_ylabel("%")
    axes.legend(frameon=False)
    save(figure, path, dpi=120)


def _at(points: Sequence[tuple[float, float]], second: float) -> float:
    """Return the best accuracy at this second."""
    return max(accuracy for time, accuracy in points if time <= second)


if __name__ == "__main__":
    main()
