#!/usr/bin/env python3
"""How well scores of untrained networks rank NAS-Bench-201's architectures, against its table.

    scripts/rank_scores.py score --cifar CIFAR --out scores.jsonl params macs depth naswot synflow
    scripts/rank_scores.py table --scores scores.jsonl --table CSV
    scripts/rank_scores.py area --scores scores.jsonl --table CSV
    scripts/rank_scores.py bayesian --table CSV --out searches.jsonl

`score` reads images alone: random architectures at published size (16 channels, 15 cells), every
number of each on one batch of CIFAR-10's training images, a line each as it is known. The same
command goes on where it was stopped. `table` reads the table once: Kendall's tau-b and Spearman's
coefficient against the test accuracy after 200 epochs, with a 95 % interval from resampled
architectures, and the best of what was scored, of all and of every hundred. AZ-NAS's numbers are
ranked among all. `area` compares evolution in the table, by validation accuracy after 12 epochs,
with AREA, whose first population is the better half of 20 architectures drawn from those that
NASWOT scored; for these 20 scores it has one candidate less. `bayesian` compares Bayesian
optimisation with evolution and with random search, each with the settings of its YAML, at equal
numbers of candidates: by validation accuracy after 12 epochs alone, a line per search in `--out` as
it is done. Once all are done, the test accuracies of the best are read, and the differences are
tested seed by seed.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
from scipy import stats

COLUMN = "cifar10_test_200ep"
FITNESS = "cifar10_val_12ep"
RIVALS = ("bayesian", "evolution", "random")
SIZES = (50, 150)
JOINED = {"az_nas": ("expressivity", "progressivity", "trainability", "macs")}
Line = dict[str, object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    scoring = verbs.add_parser("score", help="score random architectures; no table is read")
    scoring.add_argument("names", nargs="+", help="options of conf/evaluator")
    scoring.add_argument("--cifar", required=True, help="a folder with train/<class>")
    scoring.add_argument("--out", type=Path, required=True)
    scoring.add_argument("--count", type=int, default=1000)
    scoring.add_argument("--seed", type=int, default=0)
    telling = verbs.add_parser("table", help="compare what was scored with the table")
    telling.add_argument("--resamples", type=int, default=1000)
    bred = verbs.add_parser("area", help="evolution in the table with and without a warm start")
    bred.add_argument("--seeds", type=int, default=100)
    bred.add_argument("--candidates", type=int, default=150)
    guided = verbs.add_parser("bayesian", help="Bayesian optimisation against other searches")
    guided.add_argument("--seeds", type=int, default=100)
    guided.add_argument("--out", type=Path, required=True)
    for verb in (telling, bred):
        verb.add_argument("--scores", type=Path, required=True)
    for verb in (telling, bred, guided):
        verb.add_argument("--table", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.verb == "score":
        score(arguments.names, arguments.cifar, arguments.out, arguments.count, arguments.seed)
    elif arguments.verb == "area":
        area(arguments.scores, arguments.table, arguments.seeds, arguments.candidates)
    elif arguments.verb == "bayesian":
        bayesian(arguments.table, arguments.out, arguments.seeds)
    else:
        tell(arguments.scores, arguments.table, arguments.resamples)


def score(names: Sequence[str], cifar: str, out: Path, count: int, seed: int) -> None:
    """Append what is not yet there, one score after the other over the same architectures."""
    import torch

    torch.set_num_threads(1)
    done = {(line["score"], line["place"]) for line in lines(out)}
    for name in names:
        evaluator, space = begun(name, cifar, seed)
        generator = torch.Generator().manual_seed(seed)
        drawn = [space.sample(generator) for _ in range(count)]
        for place, genotype in enumerate(drawn):
            if (name, place) in done:
                continue
            before = perf_counter()
            numbers = evaluator.numbers(genotype)
            line = {
                "score": name,
                "place": place,
                "architecture": space.render(genotype),
                "numbers": {key: value for key, value in numbers.items() if math.isfinite(value)},
                "seconds": round(perf_counter() - before, 4),
            }
            with out.open("a") as file:
                file.write(json.dumps(line) + "\n")


def begun(name: str, cifar: str, seed: int):
    """An evaluator that has begun on CIFAR-10, with networks of published size, and its space."""
    from nasrun.budget import Budget
    from nasrun.config import build, compose, resolve
    from nasrun.context import Context
    from nasrun.runs.randomness import seed_everything

    words = ["space=nasbench201", "width=16", "depth=15", "strategy=random"]
    words += [f"evaluator@strategy={name}", "dataset=cifar10", f"dataset.root={cifar}"]
    config = compose(words).config
    space, dataset, task, strategy = (
        build(resolve(config[key]), key) for key in ("space", "dataset", "task", "strategy")
    )
    budget = Budget(device="cpu", precision="fp32", threads=1, max_hours=None)
    seed_everything(seed, "search")
    task.begin(dataset, budget)
    strategy.evaluator.begin(Context(space=space, task=task, budget=budget))
    return strategy.evaluator, space


def lines(path: Path) -> Iterator[Line]:
    """What was scored so far; a line that was cut off is left out."""
    for text in path.read_text().splitlines() if path.exists() else ():
        try:
            yield json.loads(text)
        except json.JSONDecodeError:
            continue


def tell(scores: Path, table: Path, resamples: int) -> None:
    """Print a row for every number."""
    from nasrun.data.table import Table

    columns = collected(lines(scores))
    seconds = {name: statistics.median(each) for name, each in times(lines(scores)).items()}
    truth = Table.read(table).columns[COLUMN]
    print("| number | n | Kendall's tau | 95 % | Spearman's rho | best of n, true % ", end="")
    print("| best of 100, mean ± std | seconds |\n|---|---|---|---|---|---|---|---|")
    for name, column in columns.items():
        architectures = list(column)
        x = np.array([column[each] for each in architectures])
        y = np.array([truth[each] for each in architectures])
        tau, rho = stats.kendalltau(x, y).statistic, stats.spearmanr(x, y).statistic
        low, high = interval(x, y, resamples)
        best = 100 * y[int(x.argmax())]
        took = f"{seconds[name]:.2f}" if name in seconds else ""
        print(
            f"| {name} | {len(x)} | {tau:.3f} | {low:.3f} to {high:.3f} | {rho:.3f} | {best:.2f} "
            f"| {hundreds(x, 100 * y)} | {took} |"
        )


def hundreds(x: np.ndarray, y: np.ndarray) -> str:
    """Of every hundred in a row the y where x is largest: mean, deviation and how many."""
    starts = range(0, len(x) - 99, 100)
    best = [float(y[start + int(x[start : start + 100].argmax())]) for start in starts]
    if len(best) < 2:
        return "".join(f"{each:.2f}" for each in best)
    return f"{statistics.fmean(best):.2f} ± {statistics.stdev(best):.2f} ({len(best)})"


def area(scores: Path, table: Path, seeds: int, candidates: int) -> None:
    """Print the true accuracies of what both find, seed by seed, and the paired test."""
    import torch
    from evidence import compare

    from nasrun.data.table import Table
    from nasrun.strategies.evolution import Evolution, WarmStart

    columns = Table.read(table).columns
    naswot = collected(lines(scores))["naswot"]
    space = in_table()
    pool = [space.parse(text) for text in naswot]

    class Pool:
        """The space, whose samples are those that were scored."""

        def sample(self):
            return pool[int(torch.randint(len(pool), ()))]

    class FromPool(WarmStart):
        def best(self, space, count):
            return super().best(Pool(), count)

    def found(seed: int, warm_start: WarmStart | None, count: int) -> float:
        judge = known(columns[FITNESS], space)
        sizes = {"num_candidates": count, "together": 1, "population": 10, "tournament": 3}
        search = Evolution(**sizes, warm_start=warm_start, evaluator=judge)
        return columns[COLUMN][best(searched(search, space, seed), space)]

    warm = FromPool(scored=20, evaluator=known(naswot, space))
    pairs = [(found(s, warm, candidates - 1), found(s, None, candidates)) for s in range(seeds)]
    compare("AREA finds a better cell than evolution (true %)", ("AREA", "evolution"), pairs)


def bayesian(table: Path, out: Path, seeds: int) -> None:
    """Search what is not yet in `out`, then print true accuracies and the paired tests."""
    from evidence import compare

    from nasrun.config import build, compose, resolve
    from nasrun.data.table import Table

    fitness, space = Table.read(table).columns[FITNESS], in_table()
    done = {(line["strategy"], line["seed"]) for line in lines(out)}
    for seed in range(seeds):
        for name in RIVALS:
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
        for rival in RIVALS[1:]:
            pairs = [
                (truth[chosen[RIVALS[0], seed][str(size)]], truth[chosen[rival, seed][str(size)]])
                for seed in range(seeds)
            ]
            claim = (
                f"After {size} candidates, {RIVALS[0]} finds a better cell than {rival} (true %)"
            )
            compare(claim, (RIVALS[0], rival), pairs)


def in_table():
    """The space of the table."""
    from nasrun.config import build, compose, resolve

    return build(resolve(compose(["space=nasbench201"]).config["space"]), "space")


def known(column: Mapping[str, float], space):
    """The evaluator that says what stands in a column."""
    from nasrun.evaluators.base import Evaluator
    from nasrun.score import Score

    class Known(Evaluator):
        def begin(self, context) -> None:
            pass

        def __call__(self, genotype):
            return Score("known", column[space.render(genotype)])

    return Known()


def searched(search, space, seed: int) -> Sequence:
    """All candidates of a search, in order."""
    import torch

    from nasrun.context import Context

    torch.manual_seed(seed)
    search.begin(Context(space=space, task=None, budget=None))
    while not search.done:
        search.run_round()
        search.round += 1
    return search.candidates


def best(candidates: Sequence, space) -> str:
    """The one that scores best, the first of equals."""
    found = max(candidates, key=lambda candidate: candidate.score.merit)
    return space.render(found.genotype)


def collected(found: Iterator[Line]) -> dict[str, dict[str, float]]:
    """By number, then by architecture; what is no number is the least of all, repeats are one."""
    columns: dict[str, dict[str, float]] = {}
    for line in found:
        numbers = line["numbers"]
        for name in JOINED.get(str(line["score"]), (str(line["score"]),)):
            value = numbers.get(name, -math.inf)
            columns.setdefault(name, {}).setdefault(str(line["architecture"]), value)
    for name, parts in JOINED.items():
        if all(part in columns for part in parts):
            known = [each for each in columns[parts[0]] if all(each in columns[p] for p in parts)]
            columns[name] = joined(known, [columns[part] for part in parts])
    return columns


def joined(known: Sequence[str], parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The sum over numbers of log(rank / n), among all that are known (2403.19232 eq. 12)."""
    ranks = [stats.rankdata([part[each] for each in known]) / len(known) for part in parts]
    return dict(zip(known, np.log(ranks).sum(0).tolist(), strict=True))


def times(found: Iterator[Line]) -> dict[str, list[float]]:
    """The seconds of every score."""
    taken: dict[str, list[float]] = {}
    for line in found:
        taken.setdefault(str(line["score"]), []).append(float(str(line["seconds"])))
    return taken


def interval(x: np.ndarray, y: np.ndarray, resamples: int) -> tuple[float, float]:
    """The middle 95 % of tau over architectures drawn with replacement."""
    generator = np.random.default_rng(0)
    taus = []
    for _ in range(resamples):
        drawn = generator.integers(len(x), size=len(x))
        taus.append(stats.kendalltau(x[drawn], y[drawn]).statistic)
    low, high = np.quantile(taus, (0.025, 0.975))
    return float(low), float(high)


if __name__ == "__main__":
    main()
