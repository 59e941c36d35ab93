#!/usr/bin/env python
"""Measures what the papers claim, on real CIFAR-10 at a scale that two CPU cores can afford.

    scripts/claims.py run --cifar CIFAR            runs the missing searches and selections
    scripts/claims.py presets --cifar CIFAR        experiments for two cores, and random search
    scripts/claims.py tables --table CSV           prints the results so far, as Markdown

`run` and `presets` go seed by seed, so that finished runs are paired; presets, which are timed, run
one after the other on all cores. Every job is a `nasrun` command, which continues where it was
stopped. The result of a finished run becomes a line of --found, and runs in it are not repeated;
docs/claims.jsonl has our results. CIFAR is a folder that `dataset=cifar10` reads. CSV is a
NAS-Bench-201 table (`nasrun table`); only `tables` reads it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evidence import compare, nasrun, spread

from nasrun.data.table import Table

SCALE = ("dataset=cifar10", "width=8", "depth=5", "space.stem=cifar_half")
"""Maps of 16 x 16 pixels, 8 channels, 5 cells."""
ALL = ("task.share=0.4", "rounds=20")
"""20,000 images, half of them for validation; 3,140 steps of two batches, weights' and alphas'."""
ONCE = ("task.share=0.4", "rounds=40")
"""As many images at one batch per step: 6,280 steps, after which SNAS reaches the floor."""
PATHS = ("task.share=0.4", "rounds=100")
"""Five times as long if only sampled operations are trained, as AutoDL-Projects' GDAS and DARTS.

Searches of this length use the published learning rate of the alphas, not ours for short searches.
"""
SOME = ("task.share=0.2", "rounds=20")
"""10,000 images, half of them for validation: 1,580 steps, for the large cells of S2."""
GRADIENT = ("strategy.weight_optimizer.lr=0.1",)
"""Few steps need larger ones: from pilots of SNAS. With alpha_lr=3e-4 its alphas stay uniform."""
FLOOR = 0.5
"""A seed counts once its supernet has this validation accuracy."""
TEST = "cifar10_test_200ep"
"""The table's column of true test accuracies."""
THREADS = "budget.threads=1"
"""Threads of every job; --jobs jobs run side by side."""
PERTURBED = ("selector.weight_lr=0.01", "selector.judge.batch_size=512")
"""Settings of the measured `selector=perturb`; its batches are now the search's by default."""


@dataclass(frozen=True)
class Search:
    """A search with its settings, and the selectors that read it."""

    space: str
    strategy: str
    selectors: tuple[str, ...]
    settings: tuple[str, ...] = (*ALL, *GRADIENT)
    first_seed: int = 0
    variant: str = ""

    def name(self, seed: int) -> str:
        """Name of the folder of a run, with the seeds counted from the first one."""
        home = "-".join(filter(None, (f"seed{self.first_seed + seed}", self.variant)))
        return f"{home}/cifar10-{self.space}-{self.strategy}/v001"

    def commands(self, root: Path, seed: int, cifar: str) -> Iterator[list[str]]:
        """Yield the search, then each selection from it."""
        run = root / self.name(seed)
        yield [
            *("search", f"space={self.space}", f"strategy={self.strategy}"),
            f"seed={self.first_seed + seed}",
            *(*SCALE, f"dataset.root={cifar}", *self.settings),
            *(f"outputs={run.parents[1]}", THREADS),
        ]
        for selector in self.selectors:
            tuning = list(PERTURBED) if selector == "perturb" else []
            yield ["select", f"selector={selector}", *tuning, f"run={run}", THREADS]

    @property
    def stages(self) -> tuple[str, ...]:
        """Stages of a finished run."""
        return ("search", *(f"select/{selector}" for selector in self.selectors))


class Whole(Search):
    """Search and selection in one command."""

    def name(self, seed: int) -> str:
        return f"preset/{super().name(seed)}"

    def commands(self, root: Path, seed: int, cifar: str) -> Iterator[list[str]]:
        outputs = (root / self.name(seed)).parents[1]
        words = [f"seed={self.first_seed + seed}", f"dataset.root={cifar}", f"outputs={outputs}"]
        yield ["run", *self.settings, *words]


class Found:
    """The results of finished runs: a file with a line of JSON per run, which outlives the runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.runs: dict[str, Mapping[str, Any]] = {}
        for line in lines:
            found = json.loads(line)
            self.runs[found["run"]] = found

    def has(self, search: Search, seed: int) -> bool:
        """Return whether it has all stages of a run."""
        return set(search.stages) <= self.runs.get(search.name(seed), {}).keys()

    def add(self, search: Search, seed: int, root: Path) -> None:
        """Record the results of a finished run, and the commit that it began with."""
        name = search.name(seed)
        found = {"run": name, "git": json.loads((root / name / "run.json").read_text())["git"]}
        for stage in search.stages:
            result = json.loads((root / name / stage / "result.json").read_text())
            found[stage] = {k: v for k, v in result.items() if not isinstance(v, list)}
        self.runs[name] = found
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:  # a later line of the same run counts
            file.write(json.dumps(found) + "\n")

    def result(self, search: Search, seed: int, stage: str) -> Mapping[str, Any] | None:
        """Return the result of a stage; `None` before it is finished, and below the floor."""
        run = self.runs.get(search.name(seed), {})
        if not {"search", stage} <= run.keys():
            return None
        supernet = "candidates" not in run["search"]
        if supernet and run["search"]["validation_accuracy"] < FLOOR:
            return None
        return run[stage]


NB201 = "nasbench201"
SEARCHES = (
    Search(NB201, "snas", ("argmax",), (*ONCE, *GRADIENT)),
    Search(NB201, "darts", ("magnitude", "perturb")),
    Search(NB201, "milenas", ("magnitude",)),
    Search("darts_s2", "darts", ("magnitude", "perturb"), (*SOME, *GRADIENT)),
    Search(NB201, "fixed_alpha", ("perturb",), (*ONCE, *GRADIENT)),
    Search(NB201, "gdas", ("argmax",), (*PATHS, *GRADIENT, "alpha_lr=3.0e-4")),
    Search(
        NB201,
        "gdas",
        ("argmax",),
        (*PATHS, *GRADIENT, "alpha_lr=3.0e-4", "strategy.relaxation.adds_undrawn=false"),
        variant="drawn_alone",
    ),
    Search(NB201, "drnas", ("argmax",)),
    Search(NB201, "pcdarts", ("magnitude",)),
    Search(NB201, "dsnas", ("argmax",), (*PATHS, *GRADIENT, "alpha_lr=1.0e-3")),
    Search(NB201, "sdarts", ("magnitude",)),
    Search(NB201, "sgas", ("magnitude",), (*ALL, "strategy.inner.weight_optimizer.lr=0.1")),
)
"""Three for the claims, all seeds of them first; then S2; then the rest of the benchmark table."""
SNAS, DARTS, MILENAS, DARTS_S2 = SEARCHES[:4]
PRESET = Whole(NB201, "snas", ("argmax",), ("experiment=nb201_cpu",), first_seed=10)
"""SNAS was chosen by seeds 0 to 4 of `SEARCHES`, so it has other seeds here."""
EVOLUTION = Whole(NB201, "evolution", ("halving",), ("experiment=nb201_evolution",))
"""The first attempt at a preset."""
RIVAL = Whole(
    NB201,
    "random",
    ("fittest",),
    (
        *("stages=[search,select]", "strategy=random", "space=nasbench201", "dataset=cifar10"),
        *("width=8", "depth=3", "space.stem=cifar_half", "task.share=0.4"),
        *("strategy.num_candidates=48", "strategy.evaluator.epochs=6"),
        "strategy.evaluator.optimizer.lr=0.1",
    ),
)
"""Random search at evolution's cost: 288 epochs of training in all, 6 per candidate."""
PRESETS = (PRESET, EVOLUTION, RIVAL)
PUBLISHED = {
    ("darts", "magnitude"): "54.30",  # 2001.00326, where `none` can be chosen
    ("gdas", "argmax"): "93.51",  # 2001.00326
    ("random", "fittest"): "93.70",  # 2001.00326, 12,000 s
    ("darts", "perturb"): "88.11",  # 2108.04392
    ("fixed_alpha", "perturb"): "93.80",  # 2108.04392
    ("snas", "argmax"): "92.77",  # as later papers quote it
    ("pcdarts", "magnitude"): "93.41",  # as later papers quote it
    ("drnas", "argmax"): "94.36",  # DrNAS's README, with the progressive scheme
}
"""Published accuracies of strategy and selector in the space's full size, in percent."""


def main() -> None:
    """Run the missing jobs, or print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["run", "presets", "tables"])
    parser.add_argument("--cifar", help="CIFAR-10's folder")
    parser.add_argument("--table", type=Path, help="a NAS-Bench-201 table, for `tables`")
    parser.add_argument("--outputs", type=Path, default=Path("outputs/claims"))
    parser.add_argument("--found", type=Path, default=Path("outputs/claims/found.jsonl"))
    parser.add_argument("--seeds", type=int, default=5)
    names = sorted({search.strategy for search in SEARCHES})
    parser.add_argument("--strategies", nargs="+", choices=names, help="these alone, for `run`")
    parser.add_argument("--jobs", type=int, default=2, help="of `run`, side by side, a thread each")
    words = parser.parse_args()
    found = Found(words.found)
    if words.what == "tables":
        tables(found, range(words.seeds), words.table)
        return
    if words.strategies is not None and words.what != "run":
        parser.error(f"--strategies: {words.what} has no choice of them; leave it out")
    if words.cifar is None:
        parser.error("--cifar: needed to run")
    if words.what == "presets":
        jobs = [(search, seed) for seed in range(words.seeds) for search in PRESETS]
        abreast = 1
    else:
        jobs = [
            (search, seed)
            for searches in (SEARCHES[:3], SEARCHES[3:4], SEARCHES[4:])
            for seed in range(words.seeds)
            for search in searches
            if words.strategies is None or search.strategy in words.strategies
        ]
        abreast = words.jobs
    jobs = [job for job in jobs if not found.has(*job)]
    with ThreadPoolExecutor(abreast) as pool:
        finished = pool.map(lambda job: work(*job, words.outputs, words.cifar), jobs)
        for (search, seed), done in zip(jobs, finished, strict=True):
            if done:
                found.add(search, seed, words.outputs)
                print(f"seed {seed}: {search.space} {search.strategy}", flush=True)


def work(search: Search, seed: int, root: Path, cifar: str) -> bool:
    """Run a search and its selections; a failure is printed, and the others continue."""
    return all(nasrun(command) for command in search.commands(root, seed, cifar))


def tables(kept: Found, seeds: Sequence[int], table: Path | None) -> None:
    """Print every claim as a Markdown table, from the results so far."""

    def paired(
        first: Callable[[int], float | None], second: Callable[[int], float | None]
    ) -> list[tuple[float, float]]:
        pairs = [(first(seed), second(seed)) for seed in seeds]
        return [(a, b) for a, b in pairs if a is not None and b is not None]

    def of(search: Search, stage: str, key: str) -> Callable[[int], float | None]:
        def read(seed: int) -> float | None:
            result = kept.result(search, seed, stage)
            return None if result is None else result[key]

        return read

    compare(
        "SNAS loses less than DARTS from supernet to child (percentage points, less is better)",
        ("DARTS, magnitude", "SNAS, argmax"),
        paired(of(DARTS, "select/magnitude", "gap"), of(SNAS, "select/argmax", "gap")),
    )
    compare(
        "MiLeNAS validates better than DARTS after equal steps (%)",
        ("MiLeNAS", "DARTS"),
        paired(
            of(MILENAS, "search", "validation_accuracy"), of(DARTS, "search", "validation_accuracy")
        ),
    )
    compare(
        "Perturbation against magnitude on the same S2 supernets: the child after an epoch (%)",
        ("perturb", "magnitude"),
        paired(
            of(DARTS_S2, "select/perturb", "child_tuned_accuracy"),
            of(DARTS_S2, "select/magnitude", "child_tuned_accuracy"),
        ),
    )
    if table is None:
        return
    benchmark = Table.read(table)

    def true(search: Search, selector: str) -> Callable[[int], float | None]:
        def read(seed: int) -> float | None:
            result = kept.result(search, seed, f"select/{selector}")
            return None if result is None else benchmark.accuracy(result["genotype"], TEST)

        return read

    compare(
        "Perturbation against magnitude on the same NAS-Bench-201 supernets: true accuracy (%)",
        ("perturb", "magnitude"),
        paired(true(DARTS, "perturb"), true(DARTS, "magnitude")),
    )
    for name, preset in (("nb201_cpu", PRESET), ("nb201_evolution", EVOLUTION)):
        compare(
            f"experiment={name} against random search at equal cost: true accuracy (%)",
            (name, "random"),
            paired(true(preset, *preset.selectors), true(RIVAL, "fittest")),
        )
    by_strategy(kept, seeds, benchmark)


def by_strategy(kept: Found, seeds: Sequence[int], benchmark: Table) -> None:
    """Print a row per strategy, with its true accuracies on every data set of the benchmark."""
    accuracies = [f"true accuracy on {data}, mean ± std" for data in benchmark.true]
    if len(accuracies) == 1:
        accuracies = ["true test accuracy, mean ± std"]
    print(f"\n| strategy | selector | n | {' | '.join(accuracies)} | published |")
    print("|---" * (4 + len(accuracies)) + "|")
    for search in (*SEARCHES, *PRESETS):
        for selector in search.selectors if search.space == NB201 else ():
            results = [kept.result(search, seed, f"select/{selector}") for seed in seeds]
            chosen = [result["genotype"] for result in results if result is not None]
            found = [benchmark.true_accuracies(chosen, data) for data in benchmark.true]
            number, *_ = (spread(values).split(" | ")[0] for values in found)
            row = " | ".join(spread(values).split(" | ")[1] for values in found)
            kind = "preset" if isinstance(search, Whole) else search.variant
            note = f" ({kind})" if kind else ""
            published = PUBLISHED.get((search.strategy, selector), "")
            print(f"| `{search.strategy}`{note} | `{selector}` | {number} | {row} | {published} |")


if __name__ == "__main__":
    main()
