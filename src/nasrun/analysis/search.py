"""Does magnitude mean strength? DARTS-PT's analysis (2108.04392) of a finished search.

Three measurements of a run's supernet, written to `search.json`:

- per edge, the probability of the skip connection and that of the likeliest operation with
  parameters;
- for some random edges, the strength of every operation: the accuracy of the supernet with the edge
  discretised to it and the rest tuned for some rounds, with its probability and its masked score;
- the accuracy with two edges of every cell exchanged. It falls little if all layers refine the same
  estimate.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import torch
from rich.console import Console
from torch import nn

from nasrun import ops
from nasrun.analysis import results
from nasrun.display import percent, table
from nasrun.files import write_json
from nasrun.genotype import SKIP
from nasrun.runs.finished import load_search
from nasrun.runs.run import Run
from nasrun.spaces.darts import Cell, CellNetwork
from nasrun.strategies.base import SupernetStrategy

Rows = list[dict[str, Any]]


def skip_against_parametric(strategy: SupernetStrategy) -> Rows:
    """Return p(skip) and the largest p of an operation with parameters, per edge that has both."""
    found = []
    for decision, row in strategy.supernet.probabilities().items():
        parametric = [p for choice, p in row.items() if ops.parametric(choice)]
        if SKIP in row and parametric:
            found.append({"edge": decision, "skip": row[SKIP], "parametric": max(parametric)})
    return found


def strengths(strategy: SupernetStrategy, edges: Sequence[str], rounds: int, rate: float) -> Rows:
    """Return per operation of the edges the accuracy discretised to it, after `rounds` of tuning.

    Every operation starts from the same supernet and the same random streams; the strategy is not
    changed.
    """
    saved = copy.deepcopy(strategy.state_dict())
    found = []
    rows = strategy.supernet.probabilities()
    for edge in edges:
        without = strategy.masked([(edge, choice) for choice in rows[edge]])
        for (choice, p), masked in zip(rows[edge].items(), without, strict=True):
            strategy.supernet.fixed[edge] = choice
            strategy.tune(rate)
            with strategy.streams.aside("strengths"):
                for _ in range(rounds):
                    strategy.run_round()
            tuned = strategy.validate()["accuracy"]
            strategy.load_state_dict(copy.deepcopy(saved))
            found.append(
                {
                    "edge": edge,
                    "operation": choice,
                    "probability": p,
                    "accuracy_without": masked["accuracy"],
                    "accuracy_discretised": tuned,
                }
            )
    return found


def shuffled_accuracies(strategy: SupernetStrategy, times: int) -> list[float]:
    """Return the validation accuracies of `times` random exchanges of two edges per cell."""
    network = cells_of(strategy)
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(times):
        with exchanged(network, generator):
            found.append(strategy.validate()["accuracy"])
    return found


def cells_of(strategy: SupernetStrategy) -> CellNetwork:
    """Return the search network; ValueError if it has no cells whose edges can be exchanged."""
    network = strategy.supernet.network
    if not isinstance(network, CellNetwork):
        raise ValueError(
            f"space={strategy.supernet.space.name}: only edges of DARTS cells can be exchanged; "
            "use shuffles=0"
        )
    return network


@contextmanager
def exchanged(network: CellNetwork, generator: torch.Generator) -> Iterator[None]:
    """Exchange candidates and alphas of two edges of equal stride in each cell, in the context."""
    cells = [cell for cell in network.cells if isinstance(cell, Cell)]
    pairs = [(cell.edges, _pair(cell.edges, cell.stride, generator)) for cell in cells]
    _exchange(pairs)
    try:
        yield
    finally:
        _exchange(pairs)


def _pair(edges: nn.ModuleDict, stride: int, generator: torch.Generator) -> tuple[str, str]:
    """Return two edges of equal stride; in a reduction, both from inputs or both from nodes."""
    kinds: dict[bool, list[str]] = {}
    for name in edges:
        kinds.setdefault(stride == 2 and name.partition("-")[2] in ("0", "1"), []).append(name)
    alike = max(kinds.values(), key=len)
    first, second = torch.randperm(len(alike), generator=generator)[:2].tolist()
    return alike[first], alike[second]


def _exchange(pairs: list[tuple[nn.ModuleDict, tuple[str, str]]]) -> None:
    for edges, (first, second) in pairs:
        edges[first], edges[second] = edges[second], edges[first]


def analyse(
    run: str, *, edges: int, rounds: int, shuffles: int, out: str | None, trust: Sequence[str]
) -> dict[str, Any]:
    """Run all three measurements on a run's search."""
    for key, value in (("edges", edges), ("rounds", rounds), ("shuffles", shuffles)):
        if value < 0:
            raise ValueError(f"{key}={value}: use 0 or more")
    folder = results.place("search", run, out)
    with Run.open(Path(run)).lock():
        record = _looks(run, edges, rounds, shuffles, trust)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "search.json", record)
    return record


def _looks(
    run: str, edges: int, rounds: int, shuffles: int, trust: Sequence[str]
) -> dict[str, Any]:
    strategy = load_search(run, trust)
    if not isinstance(strategy, SupernetStrategy):
        raise ValueError(f"run={run}: its strategy leaves {strategy.leaves}, not a supernet")
    if shuffles:
        cells_of(strategy)
    names = [d.name for d in strategy.supernet.space.decisions]
    if edges > len(names):
        raise ValueError(f"edges={edges}: the space has {len(names)}, use {len(names)} or fewer")
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(0)).tolist()
    chosen = [names[position] for position in order[:edges]]
    record: dict[str, Any] = {
        "validation_accuracy": strategy.validate()["accuracy"],
        "skip_against_parametric": skip_against_parametric(strategy),
        "tuning_rounds": rounds,
        "strengths": strengths(strategy, chosen, rounds, rate=0.0025),  # DARTS-PT's tuning rate
    }
    if shuffles:
        record["shuffled_accuracies"] = shuffled_accuracies(strategy, shuffles)
    return record


def print_record(console: Console, record: Mapping[str, Any]) -> None:
    """Print the three measurements, with accuracies in percent."""
    rows = record["skip_against_parametric"]
    if rows:
        higher = sum(row["skip"] > row["parametric"] for row in rows)
        gap = fmean(row["skip"] - row["parametric"] for row in rows)
        _say(
            console,
            f"skip is likelier than every parametric operation on {higher} of {len(rows)} edges",
            f"mean of p(skip) - p(parametric): {gap:+.4f}",
        )
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
    table(console, f"tuned for {record['tuning_rounds']} rounds", columns, strengths)
    if after := record.get("shuffled_accuracies"):
        _say(
            console,
            f"two edges of each cell exchanged: {percent(record['validation_accuracy'])} -> "
            f"{100 * fmean(after):.2f} ± {100 * pstdev(after):.2f}% ({len(after)} times)",
        )


def _say(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(line, highlight=False, markup=False)
