#!/usr/bin/env python3
"""Searches in NAS-Bench-201's table that a score of untrained networks, or a model, guides.

    scripts/rank_scores.py area --scores scores.jsonl --table CSV
    scripts/rank_scores.py bayesian --table CSV --out searches.jsonl
    scripts/rank_scores.py epnas --table CSV --out searches.jsonl

`area` compares evolution in the table, by validation accuracy after 12 epochs, with AREA, whose
first population is the better half of 20 architectures drawn from those that NASWOT scored; for
these 20 scores it has one candidate less. `nasrun analyze ranks` writes the scores. `bayesian`
compares Bayesian optimisation with evolution and with random search, each with the settings of its
YAML, at equal numbers of candidates: by validation accuracy after 12 epochs alone, a line per
search in `--out` as it is done. Once all are done, the test accuracies of the best are read, and
the differences are tested seed by seed. `epnas` compares EPNAS with its random beam and with random
search, likewise.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter

COLUMN = "cifar10_test_200ep"
FITNESS = "cifar10_val_12ep"
RIVALS = {
    "bayesian": ("evolution", "random"),
    "epnas": ("epnas_random", "random"),
}
"""Strategies with those that they are compared with."""
SIZES = (50, 150)
Line = dict[str, object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    bred = verbs.add_parser("area", help="evolution in the table with and without a warm start")
    bred.add_argument("--seeds", type=int, default=100)
    bred.add_argument("--candidates", type=int, default=150)
    guided = [verbs.add_parser(name, help=f"{name} against other searches") for name in RIVALS]
    for verb in guided:
        verb.add_argument("--seeds", type=int, default=100)
        verb.add_argument("--out", type=Path, required=True)
    bred.add_argument("--scores", type=Path, required=True)
    for verb in (bred, *guided):
        verb.add_argument("--table", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.verb == "area":
        area(arguments.scores, arguments.table, arguments.seeds, arguments.candidates)
    else:
        rivalry(arguments.verb, arguments.table, arguments.out, arguments.seeds)


def lines(path: Path) -> Iterator[Line]:
    """Return the lines so far; a line that was cut off is left out."""
    for text in path.read_text().splitlines() if path.exists() else ():
        try:
            yield json.loads(text)
        except json.JSONDecodeError:
            continue


def area(scores: Path, table: Path, seeds: int, candidates: int) -> None:
    """Print the true accuracies of what both find, seed by seed, and the paired test."""
    import torch
    from evidence import compare

    from nasrun.data.table import Table
    from nasrun.strategies.evolution import Evolution, WarmStart

    columns = Table.read(table).columns
    naswot = scored(scores, "naswot")
    space = in_table()
    pool = [space.parse(text) for text in naswot]

    class Pool:
        """The space, with the scored architectures as its samples."""

        def sample(self, generator):
            return pool[int(torch.randint(len(pool), (), generator=generator))]

    class FromPool(WarmStart):
        def best(self, space, count, stream):
            return super().best(Pool(), count, stream)

    def found(seed: int, warm_start: WarmStart | None, count: int) -> float:
        judge = known(columns[FITNESS], space)
        sizes = {"num_candidates": count, "together": 1, "population": 10, "tournament": 3}
        search = Evolution(**sizes, warm_start=warm_start, evaluator=judge)
        return columns[COLUMN][best(searched(search, space, seed), space)]

    warm = FromPool(scored=20, evaluator=known(naswot, space))
    pairs = [(found(s, warm, candidates - 1), found(s, None, candidates)) for s in range(seeds)]
    compare("AREA finds a better cell than evolution (true %)", ("AREA", "evolution"), pairs)


def rivalry(own: str, table: Path, out: Path, seeds: int) -> None:
    """Run the searches missing in `out`, then print true accuracies and the paired tests."""
    from evidence import compare

    from nasrun.config import build, compose, resolve
    from nasrun.data.table import Table

    fitness, space = Table.read(table).columns[FITNESS], in_table()
    done = {(line["strategy"], line["seed"]) for line in lines(out)}
    for seed in range(seeds):
        for name in (own, *RIVALS[own]):
            if (name, seed) in done:
                continue
            words = ["space=nasbench201", f"strategy={name}", "evaluator@strategy=tabular"]
            words += [f"space.table={table}", f"strategy.num_candidates={max(SIZES)}"]
            search = build(resolve(compose(words).config["strategy"]), "strategy")
            search.evaluator = known(fitness, space)  # the table is read once
            before = perf_counter()
            candidates = searched(search, space, seed)
            line = {
                "strategy": name,
                "seed": seed,
                "best": {size: best(candidates[:size], space) for size in SIZES},
                "seconds": round(perf_counter() - before, 2),
            }
            with out.open("a") as file:
                file.write(json.dumps(line) + "\n")
    chosen = {(line["strategy"], line["seed"]): line["best"] for line in lines(out)}
    truth = Table.read(table).columns[COLUMN]
    for size in SIZES:
        for rival in RIVALS[own]:
            pairs = [
                (truth[chosen[own, seed][str(size)]], truth[chosen[rival, seed][str(size)]])
                for seed in range(seeds)
            ]
            claim = f"After {size} candidates, {own} finds a better cell than {rival} (true %)"
            compare(claim, (own, rival), pairs)


def in_table():
    """Return the space of the table."""
    from nasrun.config import build, compose, resolve

    return build(resolve(compose(["space=nasbench201"]).config["space"]), "space")


def known(column: Mapping[str, float], space):
    """Return the evaluator that reads a column."""
    from nasrun.evaluators.base import Evaluator
    from nasrun.score import Score

    class Known(Evaluator):
        def begin(self, context) -> None:
            pass

        def __call__(self, genotype):
            return Score("known", column[space.render(genotype)])

    return Known()


def searched(search, space, seed: int) -> Sequence:
    """Return all candidates of a search, in order."""
    from nasrun.context import Context
    from nasrun.streams import Streams

    streams = Streams(seed)
    streams.enter("search")
    search.begin(Context(space=space, task=None, budget=None, streams=streams))
    while not search.done:
        streams.at(search.round)
        search.run_round()
        search.round += 1
    return search.candidates


def best(candidates: Sequence, space) -> str:
    """Return the candidate with the best score, the first of equal ones."""
    found = max(candidates, key=lambda candidate: candidate.score.merit)
    return space.render(found.genotype)


def scored(path: Path, name: str) -> dict[str, float]:
    """Return scores by architecture; NaN is the smallest, repetitions count once."""
    column: dict[str, float] = {}
    for line in lines(path):
        if line["score"] == name:
            value = line["numbers"].get(name, -math.inf)
            column.setdefault(str(line["architecture"]), value)
    return column


if __name__ == "__main__":
    main()
