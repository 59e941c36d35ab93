#!/usr/bin/env python
"""Measure what Shu, Wang and Cai (1909.09569) find: wide and shallow cells converge faster.

    scripts/cell_claims.py run --cifar CIFAR     variants, trainings and landscapes that are missing
    scripts/cell_claims.py table                 what is finished, as Markdown
    scripts/cell_claims.py table --outputs docs/cells        the tables of docs/results.md

12 variants of darts_v2 with other connections, three per width, are trained with several seeds.
Every step is a `nasrun analyze` command, which continues where it was stopped; a training takes
about two minutes of one core. docs/results.md has the protocol.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy import stats

CELL = "darts_v2"
WIDTHS = ("2", "2.5", "3", "3.5")
"""The paper's widths, in c."""
EACH = 3
"""Variants per width, as in the paper."""
SETTINGS = (
    *("dataset=cifar10", "dataset.size=16", "images=4000", "retrain=quick", "retrain.epochs=8"),
    *("retrain.channels=16", "retrain.layers=8", "retrain.auxiliary=false"),
)
"""4,000 images of 16 x 16 pixels, 504 steps; the paper trains 600 epochs with C=36, 20 cells."""
AROUND = ("grid=11", "extent=1", "images=500", "batch_size=50", "part=test", "norms=stored")
"""Half a minute per row and cell; the paper draws 51 x 51 points."""
PREDICTED = (
    ("width", "area", "less", "wide cells converge faster: a smaller area under the test loss"),
    ("depth", "area", "greater", "shallow cells converge faster: a smaller area"),
    ("width", "accuracy", "two-sided", "wide cells do not generalise better: no correlation"),
    ("depth", "accuracy", "two-sided", "shallow cells do not generalise better: no correlation"),
)
"""The paper's findings: a shape, a measure, the alternative that is tested, and words."""
COUNTS = 0.025
"""The first two findings count if p is at most this: 5 % for both."""


def main() -> None:
    """Run what is missing, or print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--cifar", help="CIFAR-10's folder")
    parser.add_argument("--outputs", type=Path, default=Path("outputs/cells"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2, help="trainings side by side")
    parser.add_argument("--set", nargs="*", default=[], help="more words, for a trial")
    words = parser.parse_args()
    if words.what == "table":
        tell(words.outputs)
        return
    if words.cifar is None:
        parser.error("--cifar: needed to run")
    side_by_side = [f"engine.processes={words.processes}", "budget.threads=1"]
    places = [f"dataset.root={words.cifar}", *side_by_side, *words.set]
    for command in commands(words.outputs, words.seeds, places, side_by_side):
        print(" ".join(command[:2]), flush=True)
        done = subprocess.run([sys.executable, "-m", "nasrun", *command], check=False)
        if done.returncode:
            sys.exit(done.returncode)


def commands(
    root: Path, seeds: int, places: Sequence[str], side_by_side: Sequence[str]
) -> Iterator[list[str]]:
    """Yield the commands in order."""
    widths = f"widths=[{','.join(WIDTHS)}]"
    count = f"count={EACH * len(WIDTHS)}"
    variants = root / "variants"
    yield ["analyze", "variants", f"genotype={CELL}", widths, count, f"out={variants}"]
    files = [
        str(variants / f"{CELL}-{width}c-{n}.json") for width in WIDTHS for n in range(1, EACH + 1)
    ]
    trained = root / "convergence"
    yield [
        *("analyze", "convergence", f"genotype={','.join(files)}", f"seeds={seeds}"),
        *(*SETTINGS, *places, f"out={trained}"),
    ]
    ends = [f"{trained}/weights/{CELL}-{w}c-1-seed0.safetensors" for w in (WIDTHS[0], WIDTHS[-1])]
    solutions = f"solution={','.join(ends)}"
    yield ["analyze", "landscape", solutions, *AROUND, *side_by_side, f"out={root / 'landscape'}"]


def tell(root: Path) -> None:
    """Print the cells, the paper's findings beside ours, and the sharpness of two cells."""
    record = read(root / "convergence" / "convergence.json")
    names = ("area", "epochs_to_threshold", "accuracy", "loss")
    told = f"{100 * record['threshold']:.2f} %"
    print("| cell | width | depth | parameters | area under the test loss ", end="")
    print(f"| epochs to {told} | accuracy, % | test loss |\n|---|---|---|---|---|---|---|---|")
    for row in record["rows"]:
        spreads = [
            spread(row["measures"][name], 100 if name == "accuracy" else 1) for name in names
        ]
        shape = f"{row['width']:g}c | {row['depth']} | {row['params']:,}"
        print(f"| {row['name']} | {shape} | {' | '.join(spreads)} |")
    print("\n| the paper's finding | Spearman's coefficient | p | here |\n|---|---|---|---|")
    for shape, measure, alternative, words in PREDICTED:
        rho, p = correlation(record["rows"], shape, measure, alternative)
        chance = f"{p:.3f}" if p >= 0.0005 else "< 0.001"
        print(f"| {words} | {rho:+.2f} | {chance} | {verdict(alternative, p)} |")
    path = root / "landscape" / "landscape.json"
    if not path.exists():
        return
    print("\n| cell | loss | gradient variance | below twice the least, % ", end="")
    print("| curvature | most curvature |\n|---|---|---|---|---|---|")
    for plane in read(path)["planes"]:
        middle, share = plane["middle"], 100 * plane["below_twice"]
        print(
            f"| {plane['name']} | {middle['loss']:.3f} | {middle['variance']:.3g} | {share:.1f} "
            f"| {plane['curvature']:.3g} | {plane['most_curvature']:.3g} |"
        )


def read(path: Path) -> dict[str, Any]:
    """Return a record."""
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def correlation(
    rows: Sequence[Mapping[str, Any]], shape: str, measure: str, alternative: str
) -> tuple[float, float]:
    """Return Spearman's coefficient over the cells, of means over seeds, and its p."""
    pairs = [(row[shape], row["measures"][measure]["mean"]) for row in rows]
    found = stats.spearmanr(*zip(*pairs, strict=True), alternative=alternative)
    return float(found.statistic), float(found.pvalue)


def verdict(alternative: str, p: float) -> str:
    """Return whether a finding is confirmed; no correlation at all cannot be."""
    if alternative == "two-sided":
        return "a correlation" if p <= 2 * COUNTS else "no correlation seen"
    return "confirmed" if p <= COUNTS else "not confirmed"


def spread(found: Mapping[str, Any], scale: float) -> str:
    """Return mean and standard deviation as text."""
    if found["mean"] is None:
        return "-"
    digits = 2 if scale > 1 else 3
    deviation = f" ± {scale * found['std']:.{digits}f}" if found["std"] is not None else ""
    return f"{scale * found['mean']:.{digits}f}{deviation}"


if __name__ == "__main__":
    main()
