#!/usr/bin/env python
"""Measure what EN2AS claims: a supernet that trains on novel architectures ranks better.

    scripts/novelty_claims.py run --cifar CIFAR     searches and scores that are missing
    scripts/novelty_claims.py table --table CSV     what is finished so far, as Markdown

`run` goes seed by seed, so that what is finished is paired. Every search is a `nasrun` command: it
continues where it was stopped. Then the supernet scores a fixed sample of architectures on all
validation images, and a line of --found has these scores and the architecture that the search
chose; what stands there is not done again. Only `table` reads CSV, a NAS-Bench-201 table
(`nasrun table`). docs/results.md has the protocol.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from claims import GRADIENT, NB201, ONCE, SCALE, TEST, THREADS
from evidence import compare, nasrun, spread
from scipy import stats

from nasrun.data.table import Table

SAMPLED = 100
"""Architectures that every supernet scores, drawn once."""
SAMPLE_SEED = 201
RATE = GRADIENT[0].replace("weight_optimizer", "evaluator.optimizer")
"""As the differentiable strategies of claims.py: few steps want larger ones."""
SETTINGS = ("strategy=en2as", f"space={NB201}", *SCALE, *ONCE, RATE, THREADS)
"""40 rounds of 157 steps, a batch each: as many images as claims.py gives every strategy."""
SAMPLERS: Mapping[str, tuple[str, ...]] = {
    "uniform": ("evaluator@strategy=inherited",),
    "novelty": (),
    "moving": ("strategy.evaluator.sampler.archive=100", "strategy.evaluator.sampler.alpha=1.0"),
    "most_novel": ("evaluator@strategy=most_novel",),
}
"""Uniform paths, EN2AS as published, EN2AS with an archive that changes, its simple form."""
RIVAL = "uniform"
CLAIM = "novelty"
"""Sampler of the claim; the others are shown for comparison and decide nothing."""

Line = dict[str, Any]


def main() -> None:
    """Run what is missing, or print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--cifar", help="CIFAR-10's folder")
    parser.add_argument("--table", type=Path, help="a NAS-Bench-201 table, for `table`")
    parser.add_argument("--outputs", type=Path, default=Path("outputs/novelty"))
    parser.add_argument("--found", type=Path, default=Path("outputs/novelty/found.jsonl"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--samplers", nargs="+", choices=SAMPLERS, default=list(SAMPLERS), help="only these"
    )
    parser.add_argument("--set", nargs="*", default=[], help="more words of a search, for a trial")
    words = parser.parse_args()
    if words.what == "table":
        if words.table is None:
            parser.error("--table: needed to compare with")
        tell(read(words.found), Table.read(words.table))
        return
    if words.cifar is None:
        parser.error("--cifar: needed to run")
    for seed in range(words.seeds):
        for sampler in words.samplers:
            if (sampler, seed) not in read(words.found):
                found = measured(sampler, seed, words.outputs, words.cifar, words.set)
                if found is not None:
                    append(words.found, found)
                    print(f"seed {seed}: {sampler}", flush=True)


def command(sampler: str, seed: int) -> list[str]:
    """Return the words of a search with this sampler, and of its selection."""
    return ["run", "stages=[search,select]", *SETTINGS, *SAMPLERS[sampler], f"seed={seed}"]


def measured(sampler: str, seed: int, root: Path, cifar: str, more: list[str]) -> Line | None:
    """Return the choice of a search and its supernet's scores of the sample; `None` if it fails."""
    outputs = root / sampler / f"seed{seed}"
    places = [f"dataset.root={cifar}", f"outputs={outputs}"]
    if not nasrun([*command(sampler, seed), *places, *more]):
        return None
    from nasrun.runs.finished import load_search
    from nasrun.runs.run import Run

    run = Run.all(outputs)[-1].path
    strategy = load_search(run)
    rounds = [json.loads(line) for line in (run / "search/metrics.jsonl").open()]
    changed = [each["changed_genes"] for each in rounds if "changed_genes" in each]
    return {
        "sampler": sampler,
        "seed": seed,
        "git": json.loads((run / "run.json").read_text())["git"],
        "seconds": json.loads((run / "search/result.json").read_text())["seconds"],
        "changed_genes": sum(changed),
        "chosen": json.loads((run / "select/fittest/result.json").read_text())["genotype"],
        "scores": scores(strategy),
    }


def scores(strategy: Any) -> dict[str, float]:
    """Return the inherited accuracy of every architecture of the sample."""
    import torch

    generator, space = torch.Generator().manual_seed(SAMPLE_SEED), strategy.space
    drawn: dict[str, Any] = {}
    while len(drawn) < SAMPLED:
        genotype = space.sample(generator)
        drawn[space.render(genotype)] = genotype
    return {cell: strategy.shared_score(genotype).value for cell, genotype in drawn.items()}


def read(path: Path) -> dict[tuple[str, int], Line]:
    """Return the finished searches, by sampler and seed; a last line that was cut off is none."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    found = [json.loads(line) for line in lines if line.endswith("\n")]
    return {(line["sampler"], line["seed"]): line for line in found}


def append(path: Path, line: Line) -> None:
    """Write a line behind the whole ones."""
    text = path.read_text() if path.exists() else ""
    path.write_text(text[: text.rfind("\n") + 1] + json.dumps(line) + "\n")


def tell(found: Mapping[tuple[str, int], Line], table: Table) -> None:
    """Print a row per sampler, and the two comparisons that the claim is made of."""

    def tau(line: Line) -> float:
        truth = [table.accuracy(cell, TEST) for cell in line["scores"]]
        return float(stats.kendalltau(list(line["scores"].values()), truth).statistic)

    def true(line: Line) -> float:
        return table.accuracy(line["chosen"], TEST)

    print("| sampler | n | Kendall's tau x 100 | n | true accuracy of the chosen, % ", end="")
    print("| changed genes | seconds |\n|---|---|---|---|---|---|---|")
    for sampler in SAMPLERS:
        lines = [line for (name, _), line in sorted(found.items()) if name == sampler]
        taus, trues = ([100 * of(line) for line in lines] for of in (tau, true))
        changed = ", ".join(f"{line['changed_genes']:.0f}" for line in lines)
        seconds = ", ".join(f"{line['seconds']:.0f}" for line in lines)
        print(f"| {sampler} | {spread(taus)} | {spread(trues)} | {changed} | {seconds} |")
    seeds = sorted(seed for name, seed in found if name == CLAIM and (RIVAL, seed) in found)
    for claim, of in (
        ("EN2AS's supernet ranks better than one of uniform paths (Kendall's tau x 100)", tau),
        ("EN2AS chooses a better architecture than uniform paths do (true accuracy, %)", true),
    ):
        pairs = [(of(found[CLAIM, seed]), of(found[RIVAL, seed])) for seed in seeds]
        compare(claim, (CLAIM, RIVAL), pairs)


if __name__ == "__main__":
    main()
