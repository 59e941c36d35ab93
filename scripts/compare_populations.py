#!/usr/bin/env python
"""Runs and evaluates the comparison that docs/comparisons/populations.md specifies.

    scripts/compare_populations.py run --jobs 2      runs the missing runs, side by side
    scripts/compare_populations.py tables            prints the results so far, as Markdown

`run` goes seed by seed, so that finished runs are paired; the ablations come last. Every run is one
`nasrun` command on one thread, which continues where it was stopped; finished ones are not
repeated.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evidence import nasrun
from scipy.stats import wilcoxon

SEEDS = range(8)
ABLATION_SEEDS = range(3)
OWN = ("rounds=12", "engine=serial", "budget.threads=1", "budget.device=cpu")


@dataclass(frozen=True)
class Arm:
    """A population with its changed settings."""

    name: str
    words: tuple[str, ...]


PBTNAS = Arm("pbtnas", ("strategy=pbtnas",))
RIVALS = tuple(Arm(name, (f"strategy={name}",)) for name in ("pbt_random", "pbt_mutation"))
VARIATION = "strategy.variation"
ABLATIONS = (
    Arm("no mixing", (*PBTNAS.words, f"{VARIATION}.with_itself=true")),
    Arm("copied exactly", (*PBTNAS.words, f"{VARIATION}.lam=1", f"{VARIATION}.gam=0")),
    Arm("initialised anew", (*PBTNAS.words, f"{VARIATION}.lam=0", f"{VARIATION}.gam=1")),
)


@dataclass(frozen=True)
class Task:
    """An experiment; `measure` reads the compared number from a result, higher is better."""

    experiment: str
    measured: str
    measure: Callable[[dict[str, Any]], float]
    told: dict[str, Callable[[dict[str, Any]], float]]


DIGITS = Task(
    "digits_gan",
    "minus test FID of the small features",
    lambda result: -result["test_fid"],
    {
        "untrained FID / FID": lambda result: result["untrained"]["fid"] / result["test_fid"],
        "rarest class": lambda result: result["test_smallest_class"],
    },
)
HOPPER = Task(
    "hopper",
    "mean return of 30 episodes",
    lambda result: result["test_return"],
    {"return / random return": lambda result: result["test_return"] / result["test_random_return"]},
)


@dataclass(frozen=True)
class Trial:
    """One run of the comparison."""

    task: Task
    arm: Arm
    seed: int

    def outputs(self, root: Path) -> Path:
        """Return the folder of the run."""
        return root / self.task.experiment / self.arm.name.replace(" ", "_") / f"seed{self.seed}"

    def found(self, root: Path) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
        """Return the chosen member's result and the search's metrics; `None` before the end."""
        for path in self.outputs(root).glob("*/v001/select/fittest/result.json"):
            lines = (path.parents[2] / "search/metrics.jsonl").read_text().splitlines()
            return json.loads(path.read_text()), [json.loads(line) for line in lines]
        return None

    def run(self, root: Path) -> bool:
        """Run it and return whether it is finished; a failure is printed, the others continue."""
        if self.found(root) is None:
            words = [*self.arm.words, f"experiment={self.task.experiment}", f"seed={self.seed}"]
            if not nasrun(["run", *words, *OWN, f"outputs={self.outputs(root)}"]):
                return False
            print(f"seed {self.seed}: {self.task.experiment}, {self.arm.name}", flush=True)
        return True


TRIALS = (
    *(
        Trial(task, arm, seed)
        for seed in SEEDS
        for task in (DIGITS, HOPPER)
        for arm in (PBTNAS, *RIVALS)
    ),
    *(Trial(DIGITS, arm, seed) for seed in ABLATION_SEEDS for arm in ABLATIONS),
)


def main() -> None:
    """Run the missing runs, or print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["run", "tables"])
    parser.add_argument("--outputs", type=Path, default=Path("outputs/compare_populations"))
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side, a thread each")
    words = parser.parse_args()
    if words.what == "tables":
        tables(words.outputs)
        return
    with ThreadPoolExecutor(words.jobs) as pool:
        finished = list(pool.map(lambda trial: trial.run(words.outputs), TRIALS))
    sys.exit(0 if all(finished) else 1)


def tables(root: Path) -> None:
    """Print the arms, the four tests and the ablations, from the results so far."""
    tests: list[tuple[str, list[float]]] = []
    for task in (DIGITS, HOPPER):
        print(f"\n**{task.experiment}**: {task.measured}, mean ± std\n")
        titles = ["arm", "n", "chosen member", "median member", *task.told]
        print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
        measured = {}
        for arm in (PBTNAS, *RIVALS):
            found = {seed: Trial(task, arm, seed).found(root) for seed in SEEDS}
            ends = {seed: each for seed, each in found.items() if each is not None}
            measured[arm] = {seed: task.measure(result) for seed, (result, _) in ends.items()}
            cells = [spread([search[-1]["median_score"] for _, search in ends.values()])]
            cells += [
                spread([read(end) for end, _ in ends.values()]) for read in task.told.values()
            ]
            cells = [str(len(ends)), spread(list(measured[arm].values())), *cells]
            print(f"| {arm.name} | {' | '.join(cells)} |")
        for rival in RIVALS:
            seeds = sorted(measured[PBTNAS].keys() & measured[rival].keys())
            pairs = [measured[PBTNAS][seed] - measured[rival][seed] for seed in seeds]
            if any(pairs):
                tests.append((f"{task.experiment}: pbtnas - {rival.name}", pairs))
    print("\n| difference | n | mean ± std | better | p | p, Holm |\n|---|---|---|---|---|---|")
    chances = [float(wilcoxon(pairs, alternative="greater").pvalue) for _, pairs in tests]
    for (name, pairs), p, corrected in zip(tests, chances, holm(chances), strict=True):
        better = sum(pair > 0 for pair in pairs)
        print(f"| {name} | {len(pairs)} | {spread(pairs)} | {better} | {p:.4f} | {corrected:.4f} |")
    print("\n| digits_gan, 3 seeds | n | chosen member | a child's gain in its first interval |")
    print("|---|---|---|---|")
    for arm in (PBTNAS, *ABLATIONS):
        each = [Trial(DIGITS, arm, seed).found(root) for seed in ABLATION_SEEDS]
        done = [end for end in each if end is not None]
        gains = [
            statistics.fmean(line["child_gain"] for line in search if "child_gain" in line)
            for _, search in done
        ]
        chosen = spread([DIGITS.measure(result) for result, _ in done])
        print(f"| {arm.name} | {len(done)} | {chosen} | {spread(gains)} |")


def holm(chances: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm, 1979)."""
    order = sorted(range(len(chances)), key=lambda place: chances[place])
    corrected, highest = [0.0] * len(chances), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(chances) - rank) * chances[place]))
        corrected[place] = highest
    return corrected


def spread(values: Sequence[float]) -> str:
    """Return mean and sample standard deviation."""
    if not values:
        return "-"
    mean = f"{statistics.fmean(values):.4g}"
    return f"{mean} ± {statistics.stdev(values):.2g}" if len(values) > 1 else mean


if __name__ == "__main__":
    main()
