#!/usr/bin/env python
"""Measures what RADARS claims: bounded memory, a better subspace, a better network than RL alone.

    scripts/radars_claims.py run memory --cifar CIFAR     four spaces with one budget
    scripts/radars_claims.py run subspace --cifar CIFAR   NAS-Bench-201, ten seeds
    scripts/radars_claims.py run search --cifar CIFAR     against REINFORCE alone, five seeds
    scripts/radars_claims.py run plan --cifar CIFAR       what `nasrun plan` predicts, and the run
    scripts/radars_claims.py tables --table CSV --plot PNG

Every job is a `nasrun` command, which continues where it was stopped; finished ones are not
repeated. CIFAR is a folder that `dataset=cifar10` reads. CSV is a NAS-Bench-201 table (`nasrun
table`); only `tables` reads it. Costs are CPU seconds of single-threaded commands, so that other
work on the machine changes them little.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Any

from evidence import compare, nasrun, spread
from scipy import stats

from nasrun.data.table import Table

COMMON = ("budget.threads=1", "budget.device=cpu")
TEST = "cifar10_test_200ep"
"""The table's column of true test accuracies."""

# Candidates a layer; one budget for all (conf/experiment/radars_memory.yaml).
SPACES = {7: "mobile", 13: "mobile_13", 28: "mobile_28", 55: "mobile_55"}
ROOMY = "budget.max_memory_gib=1000"
"""A limit without effect, except that the allocator is as frugal as with a real budget."""
MOST = 16.0
"""GiB up to which the whole space's supernet is run, not only predicted."""

# The subspace's seeds begin at 0, a pilot's at 100.
SUBSPACE = "radars_nb201"
DRAWN = 10_000
"""Number of random subspaces that RADARS's are compared with."""

SEARCH = "radars_cifar10_small"
RIVALS: Mapping[str, tuple[str, ...]] = {
    "radars": (),
    "reinforce": ("rounds=64", "selector=fittest"),
}
"""REINFORCE's rounds are to cost what RADARS does: in a pilot (--first 100 --seeds 1) RADARS took
519 CPU seconds, REINFORCE with 24 rounds 207."""

PLANS: Mapping[str, tuple[str, ...]] = {
    "darts on mobile": ("strategy=darts", "space=mobile"),
    "milenas on mobile_13": ("strategy=milenas", "space=mobile_13"),
    "radars on mobile_13": ("strategy=radars", "space=mobile_13"),
    "darts on darts": ("strategy=darts", "space=darts"),
    "snas on nasbench201": ("strategy=snas", "space=nasbench201"),
}
PLANNED = (
    *("dataset=cifar10", "images=2000", "rounds=2", "width=16", "depth=6"),
    "space.stem=cifar_half",
)
"""Settings of every search that is planned and then run."""
RETRAINED = ("epochs=2",)
"""Settings of its retraining."""


@dataclass(frozen=True)
class Job:
    """A run below `folder`, started by a verb with these words."""

    folder: Path
    verb: str
    words: tuple[str, ...]

    @property
    def run(self) -> Path | None:
        """Folder of the run, `None` before it has begun."""
        return next(iter(sorted(self.folder.glob("*/v001"))), None)

    def do(self) -> bool:
        """Run what is missing, and record its CPU seconds."""
        log = self.folder / "cpu.json"
        spent = json.loads(log.read_text()) if log.exists() else {}
        before = _cpu_seconds()
        done = nasrun([self.verb, *self.words, *COMMON, f"outputs={self.folder}"])
        self.folder.mkdir(parents=True, exist_ok=True)
        spent[self.verb] = spent.get(self.verb, 0.0) + _cpu_seconds() - before
        log.write_text(json.dumps(spent))
        return done

    def finished(self, stage: str) -> bool:
        """Return whether a stage has its result."""
        return self.run is not None and any(self.run.glob(f"{stage}/**/result.json"))

    def cpu_seconds(self, verb: str) -> float:
        """Return the CPU seconds of all commands of this verb."""
        return json.loads((self.folder / "cpu.json").read_text())[verb]

    def lines(self, file: str) -> list[dict[str, Any]]:
        """Return the records of a file of lines, of all stages that have it."""
        assert self.run is not None
        paths = sorted(self.run.glob(file))
        return [json.loads(line) for path in paths for line in path.read_text().splitlines()]

    def seconds(self, stage: str) -> float:
        """Return the seconds of a stage's rounds, and of its work after the last one."""
        assert self.run is not None
        rounds = sum(record["seconds"] for record in self.lines(f"{stage}/**/timing.jsonl"))
        (result,) = self.run.glob(f"{stage}/**/result.json")
        last = result.with_name("metrics.jsonl")
        return rounds + result.stat().st_mtime - last.stat().st_mtime

    def peak_gib(self, stage: str) -> float:
        """Return the peak memory of the stage's process."""
        return max(record["memory_gib"] for record in self.lines(f"{stage}/**/timing.jsonl"))


def main() -> None:
    """Run the missing jobs of one claim, or print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["run", "tables", *OUTLOOKS])
    parser.add_argument("claim", nargs="*", help="memory, subspace, search, plan")
    parser.add_argument("--cifar", help="CIFAR-10's folder")
    parser.add_argument("--table", type=Path, help="a NAS-Bench-201 table, for `tables`")
    parser.add_argument("--plot", type=Path, help="where `tables` draws the memory")
    parser.add_argument("--outputs", type=Path, default=Path("outputs/radars_claims"))
    parser.add_argument("--seeds", type=int, help="ten for the subspace, five for the search")
    parser.add_argument("--first", type=int, default=0, help="the first seed; pilots use 100")
    words = parser.parse_args()
    if words.what in OUTLOOKS:
        print(json.dumps(OUTLOOKS[words.what](words.claim)))
        return
    root, first = words.outputs, words.first
    seeds = {
        claim: range(first, first + (words.seeds or count))
        for claim, count in (("subspace", 10), ("search", 5))
    }
    if words.what == "tables":
        memory_table(root / "memory", words.plot)
        if words.table is not None:
            subspace_table(root / "subspace", seeds["subspace"], Table.read(words.table))
        search_table(root / "search", seeds["search"])
        plan_table(root / "plan")
        return
    if words.cifar is None:
        parser.error("--cifar: needed to run")
    data = f"dataset.root={words.cifar}"
    runs = {
        "memory": lambda: run_memory(root / "memory", data),
        "subspace": lambda: run_subspace(root / "subspace", seeds["subspace"], data),
        "search": lambda: run_search(root / "search", seeds["search"], data),
        "plan": lambda: run_plan(root / "plan", data),
    }
    for claim in words.claim:
        if claim not in runs:
            parser.error(f"{claim}: one of {', '.join(runs)}")
        runs[claim]()


# Memory


def memory_job(root: Path, candidates: int, strategy: str, data: str = "") -> Job:
    """Return a search with this many candidates per layer; `most` leaves all to the budget."""
    alone = ("strategy.most=100", "strategy.explore.updates=1")
    own = alone if strategy == "radars" else (ROOMY,)
    words = (
        *("experiment=radars_memory", f"strategy={strategy}", f"space={SPACES[candidates]}"),
        *(*own, data),
    )
    return Job(root / f"{strategy}-{candidates}", "search", words)


def run_memory(root: Path, data: str) -> None:
    """Run RADARS in every space, and predict the whole space's supernet and run it if possible."""
    for candidates in SPACES:
        radars, darts = (memory_job(root, candidates, s, data) for s in ("radars", "darts"))
        if not radars.finished("search"):
            radars.do()
        predicted = ask("predict", darts.folder / "plan.json", (*darts.words, *COMMON))
        if predicted["search"]["memory_gib"] <= MOST and not darts.finished("search"):
            darts.do()
        print(f"memory: {candidates} candidates", flush=True)


def memory_table(root: Path, plot: Path | None) -> None:
    """Print peaks by candidates, and draw them."""
    print("\n**Peak memory by candidates a layer, GiB**\n")
    print("| candidates | RADARS, predicted | RADARS, measured | DARTS, predicted | measured |")
    print("|---|---|---|---|---|")
    found: dict[str, dict[int, float]] = {"radars": {}, "predicted": {}, "darts": {}}
    for candidates in SPACES:
        radars, darts = (memory_job(root, candidates, s) for s in ("radars", "darts"))
        row = ["-"] * 4
        if radars.finished("search"):
            result = json.loads(
                next(iter(radars.folder.glob("*/v001/search/result.json"))).read_text()
            )
            found["radars"][candidates] = radars.peak_gib("search")
            row[:2] = f"{result['predicted_memory_gib']:.2f}", f"{radars.peak_gib('search'):.2f}"
        if (darts.folder / "plan.json").exists():
            predicted = json.loads((darts.folder / "plan.json").read_text())["search"]["memory_gib"]
            found["predicted"][candidates] = predicted
            row[2] = f"{predicted:.2f}"
        if darts.finished("search"):
            found["darts"][candidates] = darts.peak_gib("search")
            row[3] = f"{darts.peak_gib('search'):.2f}"
        print(f"| {candidates} | {' | '.join(row)} |")
    if plot is not None:
        draw_memory(found, 2.0, plot)


def draw_memory(found: Mapping[str, Mapping[int, float]], budget: float, path: Path) -> None:
    """Draw peak memory over the number of candidates."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    from nasrun.pictures.figure import COLOURS, INK, save

    figure = Figure(figsize=(6, 4), layout=ConstrainedLayoutEngine(), facecolor="white")
    axes = figure.add_subplot()
    for (key, name, style), colour in zip(
        (
            ("radars", "RADARS, measured", "o-"),
            ("predicted", "the whole space (DARTS), predicted", "s--"),
            ("darts", "the whole space (DARTS), measured", "D-"),
        ),
        COLOURS,
        strict=False,
    ):
        axes.plot(*zip(*found[key].items(), strict=True), style, color=colour, label=name)
    axes.axhline(budget, color=INK, linestyle=":", label="the budget")
    axes.set_xlabel("candidates a layer", color=INK)
    axes.set_ylabel("peak memory of the process, GiB", color=INK)
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, labelcolor=INK)
    save(figure, path, dpi=120)


# The surviving subspace


def subspace_job(root: Path, seed: int, data: str = "") -> Job:
    """Return a job of RADARS's pruning on NAS-Bench-201."""
    return Job(root / f"seed{seed}", "search", (f"experiment={SUBSPACE}", f"seed={seed}", data))


def run_subspace(root: Path, seeds: Sequence[int], data: str) -> None:
    """Run the jobs seed by seed."""
    for seed in seeds:
        job = subspace_job(root, seed, data)
        if not job.finished("search"):
            job.do()
        print(f"subspace: seed {seed}", flush=True)


def subspace_table(root: Path, seeds: Sequence[int], table: Table) -> None:
    """Print how often the kept subspace has one of the true top 1 %, against random subspaces."""
    column = table.columns[TEST]
    ranked = sorted(column, key=column.__getitem__, reverse=True)
    top = {text: rank for rank, text in enumerate(ranked, 1)}
    limit = len(ranked) // 100
    print("\n**An architecture of the true top 1 % in the kept 64 of NAS-Bench-201**\n")
    print("| seed | kept operations | best rank of 15,625 |\n|---|---|---|")
    hits, seen = 0, 0
    for seed in seeds:
        job = subspace_job(root, seed)
        if not job.finished("search"):
            continue
        assert job.run is not None
        kept = json.loads((job.run / "search/subspaces.json").read_text())[-1]["kept"]
        best = min(top[text] for text in architectures(list(kept.values())))
        hits, seen = hits + (best <= limit), seen + 1
        named = ", ".join("+".join(row) for row in kept.values())
        print(f"| {seed} | {named} | {best} |")
    operations = sorted(set(re.findall(r"(\w+)~", "".join(ranked))))
    pairs = list(combinations(operations, 2))
    drawn, generator = 0, random.Random(0)
    for _ in range(DRAWN):
        chosen = [generator.choice(pairs) for _ in range(6)]
        drawn += min(top[text] for text in architectures(chosen)) <= limit
    print(f"\nRADARS {hits} of {seen}; random {drawn} of {DRAWN}")
    if seen:
        odds = [[hits, seen - hits], [drawn, DRAWN - drawn]]
        p = stats.fisher_exact(odds, alternative="greater").pvalue
        print(f"Fisher, one-sided: p = {p:.4f}")


def architectures(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Return the benchmark's names of all cells with these operations on their edges.

    The edges are in the order 1-0, 2-0, 2-1, 3-0, ...
    """
    for a, b, c, d, e, f in product(*rows):
        yield f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


# The found network


def search_job(root: Path, strategy: str, seed: int, data: str = "") -> Job:
    """Return search, selection and retraining."""
    words = (
        f"experiment={SEARCH}",
        f"strategy={strategy}",
        *RIVALS[strategy],
        f"seed={seed}",
        data,
    )
    return Job(root / f"{strategy}-{seed}", "run", words)


def run_search(root: Path, seeds: Sequence[int], data: str) -> None:
    """Run the jobs seed by seed, the search as its own command, so that its cost is measured."""
    for seed in seeds:
        for strategy in RIVALS:
            job = search_job(root, strategy, seed, data)
            if not job.finished("search"):
                words = tuple(w for w in job.words if not w.startswith("selector="))
                Job(job.folder, "search", words).do()
            if not job.finished("retrain"):
                job.do()
            print(f"search: seed {seed}, {strategy}", flush=True)


def search_table(root: Path, seeds: Sequence[int]) -> None:
    """Print validation accuracy after equal retraining, costs, and the time to REINFORCE's best."""
    pairs, costs, times = [], [], []
    for seed in seeds:
        radars, rival = (search_job(root, strategy, seed) for strategy in RIVALS)
        if not (radars.finished("retrain") and rival.finished("retrain")):
            continue
        final = [
            job.lines("retrain/*/metrics.jsonl")[-1]["validation_accuracy"]
            for job in (radars, rival)
        ]
        pairs.append((final[0], final[1]))
        costs.append([job.cpu_seconds("search") for job in (radars, rival)])
        best = rival.lines("search/metrics.jsonl")[-1]["best_validation_accuracy"]
        times.append(share_until(radars, best) * costs[-1][0] / costs[-1][1])
    names = ("RADARS", "REINFORCE alone")
    compare("Validation accuracy of the found network after equal retraining (%)", names, pairs)
    if pairs:
        for name, column in zip(names, zip(*costs, strict=True), strict=True):
            print(f"\nCPU seconds of the search, {name}: {spread(column)}")
        reached = [value for value in times if value < float("inf")]
        print(
            "\nShare of REINFORCE's search until RADARS's supernet validates as well as "
            f"REINFORCE's best path: {spread(reached)}; never in {len(times) - len(reached)}"
        )


def share_until(job: Job, accuracy: float) -> float:
    """Return the share of a search's time until its supernet has this accuracy, else infinity."""
    seconds = [record["seconds"] for record in job.lines("search/timing.jsonl")]
    for number, record in enumerate(job.lines("search/metrics.jsonl"), 1):
        if record.get("validation_accuracy", 0.0) >= accuracy:
            return sum(seconds[:number]) / sum(seconds)
    return float("inf")


# What was predicted


def foresee(words: Sequence[str]) -> dict[str, Any]:
    """Return what `nasrun plan` predicts, by stage."""
    from nasrun.pipeline.execution import foresee as outlook

    return {forecast.stage: vars(forecast) for forecast in outlook(_plan(words)).stages}


def predict(words: Sequence[str]) -> dict[str, Any]:
    """Return `nasrun plan`'s prediction of a search's memory; no step is run."""
    plan = _plan(words)
    plan.task.begin(plan.dataset, plan.budget)
    plan.strategy.begin(plan.context(plan.task))
    return {"search": {"memory_gib": plan.budget.whole(plan.strategy.foreseen_bytes())}}


def _plan(words: Sequence[str]) -> Any:
    """Return the plan that `nasrun plan` builds."""
    from nasrun.cli.line import Line
    from nasrun.config import compose
    from nasrun.pipeline.command import Command
    from nasrun.pipeline.preparing import prepare
    from nasrun.pipeline.source import find_source, inherited_choices

    line = Line.parse("run", words, only_foreseen=True)
    source = find_source(line.verb, Path("outputs"), line.typed("run"), None, None)
    inherited = inherited_choices(source, line.overrides) if source else []
    composed = compose([*inherited, *line.overrides])
    return prepare(Command(line.verb, composed, line.overrides, (), only_foreseen=True), source)


OUTLOOKS = {"foresee": foresee, "predict": predict}


def ask(outlook: str, file: Path, words: Sequence[str]) -> dict[str, Any]:
    """Run one of `OUTLOOKS` in its own process, once."""
    if not file.exists():
        command = [sys.executable, __file__, outlook, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(done.stdout.splitlines()[-1])
    return json.loads(file.read_text())


def plan_job(root: Path, name: str, data: str = "") -> Job:
    """Return a search that is predicted before it is run."""
    return Job(root / name.replace(" ", "-"), "search", (*PLANS[name], *PLANNED, ROOMY, data))


def run_plan(root: Path, data: str) -> None:
    """Run each plan, and right after it its stages, each in its own process."""
    for name in PLANS:
        job = plan_job(root, name, data)
        stages = "stages=[search,select,retrain]"
        ask("foresee", job.folder / "plan.json", (*job.words, *COMMON, *RETRAINED, stages))
        if not job.finished("search"):
            job.do()
        if job.run is not None and not job.finished("retrain"):
            later = (f"run={job.run}", *COMMON, ROOMY)
            if nasrun(["select", *later]):
                training = ("retrain", *later, *RETRAINED)
                ask("foresee", job.folder / "found.json", training)
                nasrun(training)
        print(f"plan: {name}", flush=True)


def plan_table(root: Path) -> None:
    """Print predictions and measurements."""
    print("\n**What `nasrun plan` predicted, and what the run took**\n")
    print("| run | stage | GiB, predicted | measured | error | s, predicted | measured | error |")
    print("|---|---|---|---|---|---|---|---|")
    for name in PLANS:
        job = plan_job(root, name)
        for what, stage, file in (
            ("search", "search", "plan.json"),
            ("retrain, before the search", "retrain", "plan.json"),
            ("retrain, after the selection", "retrain", "found.json"),
        ):
            if not job.finished(stage):
                continue
            predicted = json.loads((job.folder / file).read_text())[stage]
            row = [name, what]
            for said, was in (
                (predicted["memory_gib"], job.peak_gib(stage)),
                (3600 * predicted["hours"], job.seconds(stage)),
            ):
                row += [f"{said:.2f}", f"{was:.2f}", f"{said / was - 1:+.0%}"]
            print(f"| {' | '.join(row)} |")


def _cpu_seconds() -> float:
    """Return the CPU seconds of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
