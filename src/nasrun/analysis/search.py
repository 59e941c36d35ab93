"""The worth of a finished search: DARTS-PT's analysis (2108.04392), sharpness, and a verdict.

Measurements of a run's supernet, written to `search.json`, each kept as soon as it is known:

- per edge, the probability of the skip connection and that of the likeliest operation with
  parameters;
- for some random edges, the strength of every operation: the accuracy of the supernet with the edge
  discretised to it and the rest tuned for some rounds, with its probability and its masked score;
- the accuracy with two edges of every cell exchanged. It falls little if all layers refine the same
  estimate;
- the accuracy that the chosen architecture alone loses, and the largest eigenvalue of the Hessian
  of the loss with respect to the alphas (RobustDARTS, 1909.09656).
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from statistics import fmean
from typing import Any

import numpy as np
import torch

from nasrun import ops
from nasrun.analysis import results
from nasrun.analysis.agreement import spearman
from nasrun.analysis.exchanges import exchangeable, shuffled_accuracies
from nasrun.analysis.kept import Measurements, Once, now
from nasrun.analysis.paired import Spread
from nasrun.analysis.verdict import Means, facts, growth, signs, verdict
from nasrun.display import Exhibit, percent, watched
from nasrun.files import write_json
from nasrun.genotype import NONE, SKIP
from nasrun.pictures import measured
from nasrun.runs.finding import find_run
from nasrun.runs.finished import load_search
from nasrun.stage import Metrics
from nasrun.strategies.base import SupernetStrategy
from nasrun.strategies.curvature import Curvature

Rows = list[dict[str, Any]]
RECORD, PICTURE = "search.json", "search.png"


def skip_against_parametric(strategy: SupernetStrategy) -> Rows:
    """Return p(skip) and the largest p of an operation with parameters, per edge that has both."""
    found = []
    for decision, row in strategy.supernet.probabilities().items():
        parametric = [p for choice, p in row.items() if ops.parametric(choice)]
        if SKIP in row and parametric:
            found.append({"edge": decision, "skip": row[SKIP], "parametric": max(parametric)})
    return found


def strengths(
    strategy: SupernetStrategy, edges: Sequence[str], rounds: int, rate: float, once: Once = now
) -> Rows:
    """Return per operation of the edges the accuracy discretised to it, after `rounds` of tuning.

    Every operation starts from the same supernet and the same random streams; the strategy is not
    changed. `once` returns a measurement that is known already.
    """
    saved = copy.deepcopy(strategy.state_dict())
    found = []
    rows = strategy.supernet.probabilities()

    def masked(edge: str) -> list[float]:
        masks = [(edge, choice) for choice in rows[edge]]
        return [metrics["accuracy"] for metrics in strategy.masked(masks)]

    def tuned(edge: str, choice: str) -> float:
        strategy.supernet.fixed[edge] = choice
        strategy.tune(rate)
        with strategy.streams.aside("strengths"):
            for _ in range(rounds):
                strategy.run_round()
        accuracy = strategy.validate()["accuracy"]
        strategy.load_state_dict(copy.deepcopy(saved))
        return accuracy

    pairs = [(edge, place) for edge in edges for place in range(len(rows[edge]))]
    for edge, place in watched(pairs, "tuning with one operation", len(pairs)):
        without = once(partial(masked, edge), "masked", edge)
        choice, p = list(rows[edge].items())[place]
        found.append(
            {
                "edge": edge,
                "operation": choice,
                "probability": p,
                "accuracy_without": without[place],
                "accuracy_discretised": once(
                    partial(tuned, edge, choice), "discretised", edge, choice, rounds, rate
                ),
            }
        )
    return found


def agreement(rows: Rows) -> dict[str, float]:
    """Return the mean over edges of Spearman's coefficients of probability and strength.

    Strength is the accuracy discretised to an operation, and the accuracy lost without it; an edge
    on which all are equally strong or likely does not count. `strongest` is the share of edges
    whose likeliest operation is the strongest.
    """
    found: dict[str, list[float]] = {"discretised": [], "without": [], "strongest": []}
    for edge in dict.fromkeys(row["edge"] for row in rows):
        own = [row for row in rows if row["edge"] == edge]
        p = np.array([row["probability"] for row in own])
        if len(set(p)) == 1:
            continue
        strength = np.array([row["accuracy_discretised"] for row in own])
        lost = -np.array([row["accuracy_without"] for row in own])
        for name, values in (("discretised", strength), ("without", lost)):
            if len(set(values)) > 1:
                found[name].append(spearman(p, values))
        if len(set(strength)) > 1:
            found["strongest"].append(float(strength[int(p.argmax())] == strength.max()))
    return {name: fmean(values) for name, values in found.items() if values}


def analyse(
    run: str,
    *,
    edges: int,
    rounds: int,
    shuffles: int,
    images: int,
    exactly: bool,
    out: str | None,
    trust: Sequence[str],
    root: str | None = None,
) -> dict[str, Any]:
    """Make all measurements on a run's search that are not known yet, write and draw them.

    Where the validation part has fewer images, all are used, unless it must be `exactly` `images`.
    `root` is the place of data that were moved.
    """
    folder = results.place("search", run, out)
    home = find_run(run)
    with results.writing(folder):
        strategy = load_search(run, trust, root)
        if not isinstance(strategy, SupernetStrategy):
            raise ValueError(
                f"run={run}: its strategy leaves {strategy.leaves}, not a supernet; name the run "
                "of another search"
            )
        chosen = _edges(strategy, edges)
        if shuffles:
            exchangeable(strategy)
        if not exactly:
            images = min(images, len(strategy.validation))
        curvature = _curvature(strategy, images)
        kept = Measurements(
            folder, ["search", home.record["fingerprint"], strategy.task.budget.arithmetic]
        )
        record = _looks(strategy, chosen, rounds, shuffles, curvature, kept.once)
        metrics = home.search().metrics()
        record |= _judged(strategy, record, metrics, Means.of(strategy))
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / RECORD, record)
        over_rounds = _operations(strategy)
        measured.search(record, metrics, over_rounds, folder / PICTURE)
    return {**record, "picture": str(folder / PICTURE)}


def _edges(strategy: SupernetStrategy, number: int) -> list[str]:
    """Return that many random edges, the same in every run of a space."""
    names = [d.name for d in strategy.supernet.space.decisions]
    if number > len(names):
        raise ValueError(f"edges={number}: the space has {len(names)}, use {len(names)} or fewer")
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(0)).tolist()
    return [names[position] for position in order[:number]]


def _curvature(strategy: SupernetStrategy, images: int) -> Curvature | None:
    """Return the measure of sharpness on `images` images, `None` for 0 or without derivatives."""
    if images == 0:
        return None
    if images > (most := len(strategy.validation)):
        raise ValueError(f"images={images}: there are {most} validation images; use at most {most}")
    curvature = Curvature(images=images)
    try:
        curvature.check(strategy.supernet, strategy.task, strategy.validation)
    except ValueError as error:
        if str(error).startswith("curvature.images"):
            raise ValueError(str(error).removeprefix("curvature.")) from error
        return None  # it is measured with one choice per decision
    return curvature


def _looks(
    strategy: SupernetStrategy,
    edges: Sequence[str],
    rounds: int,
    shuffles: int,
    curvature: Curvature | None,
    once: Once,
) -> dict[str, Any]:
    child = strategy.supernet.genotype(strategy.history.rule)
    record: dict[str, Any] = {
        "validation_accuracy": once(lambda: strategy.validate()["accuracy"], "accuracy"),
        "child_accuracy": once(lambda: strategy.shared_score(child).value, "child"),
        "skip_against_parametric": skip_against_parametric(strategy),
    }
    if curvature is not None:

        def measure() -> dict[str, Any]:
            return asdict(curvature.measure(strategy.supernet, strategy.task, strategy.validation))

        record["alpha_eigenvalue"] = once(measure, "eigenvalue", asdict(curvature))
    record["tuning_rounds"] = rounds
    rate = 0.0025  # DARTS-PT's tuning rate
    record["strengths"] = strengths(strategy, edges, rounds, rate, once)
    record["agreement"] = agreement(record["strengths"])
    if shuffles:
        record["shuffled_accuracies"] = shuffled_accuracies(strategy, shuffles, once)
    return record


def _judged(
    strategy: SupernetStrategy, record: Mapping[str, Any], rounds: Sequence[Metrics], means: Means
) -> dict[str, Any]:
    """Return the gap, the numbers that the alphas give, and the verdict."""
    accuracy, child = record["validation_accuracy"], record["child_accuracy"]
    rows = record["skip_against_parametric"]
    known: dict[str, float | None] = {
        **facts(strategy),
        "accuracy": accuracy,
        "chance": 1 / strategy.task.outputs,
        "gap": None if child is None else accuracy - child,
        "growth": growth([metrics.get("alpha_eigenvalue") for metrics in rounds]),
        "skip_likelier": fmean(r["skip"] > r["parametric"] for r in rows) if rows else None,
        "agreement": record["agreement"].get("discretised"),
    }
    return {"facts": known, **verdict(signs(known, means), means)}


def _operations(strategy: SupernetStrategy) -> dict[str, list[int]]:
    """Return per operation the number of edges that have it in each round's architecture."""
    rounds = [Counter(past.genotype.values()) for past in strategy.history.records]
    names = dict.fromkeys(name for each in rounds for name in each if name != NONE)
    return {name: [each[name] for each in rounds] for name in names}


def told(record: Mapping[str, Any]) -> Iterator[Exhibit | str]:
    """Yield the measurements, with accuracies in percent, and the verdict."""
    rows = record["skip_against_parametric"]
    if rows:
        higher = sum(row["skip"] > row["parametric"] for row in rows)
        gap = fmean(row["skip"] - row["parametric"] for row in rows)
        yield f"skip is likelier than every parametric operation on {higher} of {len(rows)} edges"
        yield f"mean of p(skip) - p(parametric): {gap:+.4f}"
    columns = ("edge", "operation", "probability", "accuracy without", "discretised")
    strengths = [
        (
            row["edge"],
            row["operation"],
            f"{row['probability']:.4f}",
            percent(row["accuracy_without"]),
            percent(row["accuracy_discretised"]),
        )
        for row in record["strengths"]
    ]
    if strengths:
        yield Exhibit(f"tuned for {record['tuning_rounds']} rounds", columns, strengths)
    for name, of in (("discretised", "accuracy discretised"), ("without", "accuracy lost without")):
        if name in record["agreement"]:
            value = record["agreement"][name]
            yield f"rank correlation of probability and {of}, mean of edges: {value:+.2f}"
    if after := record.get("shuffled_accuracies"):
        yield (
            f"two edges of each cell exchanged: {percent(record['validation_accuracy'])} -> "
            f"{Spread.of([100 * accuracy for accuracy in after]).text()}% ({len(after)} times)"
        )
    if (gap := record["facts"]["gap"]) is not None:
        yield (
            f"the architecture alone: {percent(record['child_accuracy'])}, the supernet "
            f"{percent(record['validation_accuracy'])} (gap {100 * gap:.2f})"
        )
    found = record.get("alpha_eigenvalue")
    if found is not None and found["value"] is not None:
        yield (
            f"largest eigenvalue of the Hessian with respect to the alphas: {found['value']:.4g} "
            f"± {found['error']:.1g} ({found['products']} products)"
        )
    others = [s["sign"] for s in record["signs"] if s["holds"] and s["sign"] != record["verdict"]]
    also = f"; also {', '.join(dict.fromkeys(others))}" if others else ""
    yield f"verdict: {record['verdict']}: {record['because']}{also}"
    yield f"next: {record['try']}"
