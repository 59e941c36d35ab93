"""The properties of a cell (Shu, Wang, Cai, 1909.09569): its wiring, operations and costs.

Each is compared with all cells of the space: the share that is at most as wide, deep or large.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

from nasrun import ops
from nasrun.analysis import results
from nasrun.analysis.parameters import Prices, distribution, price, prices, share_up_to
from nasrun.analysis.wiring import MOST, Shape, Wiring, cells_of, count_wirings, edges_of, shapes
from nasrun.config import build, import_trusted
from nasrun.config.given import RANDOM, placed_architecture
from nasrun.config.stages import SELECT
from nasrun.costs.cost import count
from nasrun.costs.memory import activation_bytes
from nasrun.data.table import Table, Truth, place, shown
from nasrun.display import Exhibit, percent, storage, watched
from nasrun.files import write_json
from nasrun.genotype import NONE, Genotype
from nasrun.pictures import cells as drawing
from nasrun.pictures import plots
from nasrun.runs.finding import find_run
from nasrun.runs.show import published_network
from nasrun.spaces.base import ClassifierSpace, listed
from nasrun.spaces.decision import DecisionSpace
from nasrun.spaces.layout import Layout
from nasrun.spaces.supernet import SupernetSpace

Number = TypeVar("Number", int, Fraction)


@dataclass(frozen=True)
class Named:
    """An architecture with a name, in a space with its settings."""

    name: str
    genotype: Genotype
    space: DecisionSpace
    settings: Mapping[str, Any]
    true: Mapping[str, Truth] = field(default_factory=dict)


@dataclass
class AllCells:
    """The properties of all cells of one space, each computed once."""

    space: DecisionSpace

    def __post_init__(self) -> None:
        self.shapes: dict[str, Counter[Shape] | None] = {}
        self.parameters: dict[Layout, tuple[Prices, Counter[int]]] = {}

    def shapes_of(self, cell: str) -> Counter[Shape] | None:
        """Return the number of cells by shape; `None` if there are too many wirings to count."""
        if cell not in self.shapes:
            few = count_wirings(self.space, cell) <= MOST
            self.shapes[cell] = shapes(self.space, cell) if few else None
        return self.shapes[cell]

    def share_as_large(self, genotype: Genotype, layout: Layout) -> float | None:
        """Return the share of architectures with at most as many parameters.

        It is `None` if some nodes are not joined, since that changes the following cells.
        """
        if genotype.concat or not isinstance(self.space, SupernetSpace):
            return None
        if layout not in self.parameters:
            each = prices(self.space, layout)
            self.parameters[layout] = each, distribution(self.space, each)
        each, all_of_them = self.parameters[layout]
        return share_up_to(price(each, genotype), all_of_them)


def analyse(
    genotypes: Sequence[str],
    run: str | None,
    *,
    space: str | None,
    network: str | None,
    out: str | None,
    trust: Sequence[str],
    table: str | None = None,
) -> dict[str, Any]:
    """Return the record of these architectures and all selections of a run; draw pictures.

    True results are those of the table, else those that a selection has looked up.
    """
    import_trusted(trust)
    found = unlike([*given(genotypes, space, trust), *_selected(run, trust)])
    for each in found:
        cells_of(each.space)
    if table is not None:
        benchmark = Table.read(Path(table))
        found = [
            replace(each, true=benchmark.truth(listed(each.space, each.genotype))) for each in found
        ]
    folder = results.place("cells", run, out)
    wholes: dict[Any, AllCells] = {}
    rows = []
    for each in watched(found, "counting", len(found)):
        whole = wholes.setdefault(_key(each.space), AllCells(each.space))
        rows.append(_row(each, whole, network))
    record: dict[str, Any] = {"cells": rows}
    with results.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        pictures = list(_draw(found, wholes, folder))
        record["pictures"] = list(map(str, pictures))
        write_json(folder / "cells.json", record)
    return record


def given(names: Sequence[str], space: str | None, trust: Sequence[str]) -> Iterator[Named]:
    """Yield the named architectures; ValueError for a space without cells, or two random ones."""
    if names.count(RANDOM) > 1:
        raise ValueError(
            f"genotype={RANDOM}: is one architecture, the same each time; give it once, and draw "
            "others by `nasrun analyze variants`"
        )
    for name in names:
        short, genotype, home, settings = placed_architecture(name, space, trust)
        cells_of(home)
        assert isinstance(home, DecisionSpace)
        yield Named(short, genotype, home, settings)


def _selected(path: str | None, trust: Sequence[str]) -> Iterator[Named]:
    if path is None:
        return
    run = find_run(path)
    space = build(run.config["space"], "space", trust)
    cells_of(space)
    chosen = [s for s in run.stages() if s.kind == SELECT.name and s.finished]
    if not chosen:
        raise ValueError(f"run={path}: no architecture selected there; type `nasrun select` first")
    for stage in chosen:
        genotype = space.check(Genotype.read(stage.path / "genotype.json"))
        true = stage.result.get("true", {})
        yield Named(stage.branch, genotype, space, run.config["space"], true)


def unlike(found: Sequence[Named]) -> list[Named]:
    """Return the architectures with distinct names: repeated names get a number."""
    taken: dict[str, Named] = {}
    for each in found:
        name, number = each.name, 1
        while name in taken:
            number += 1
            name = f"{each.name}-{number}"
        taken[name] = replace(each, name=name)
    return list(taken.values())


def _key(space: DecisionSpace) -> Any:
    """Return a key that is equal for spaces with the same cells."""
    return space.name, space.decisions, space.limits


def _row(each: Named, whole: AllCells, network: str | None) -> dict[str, Any]:
    space, genotype = each.space, each.genotype
    row: dict[str, Any] = {
        "name": each.name,
        "space": space.name,
        "genotype": space.render(genotype),
        "types": {cell: describe(whole, genotype, cell) for cell in cells_of(space)},
    }
    if isinstance(space, ClassifierSpace):
        facts, built = published_network(genotype, space, network)
        cost = count(built, 3, facts["size"])
        layout = Layout(channels=facts["channels"], layers=facts["layers"], stem=facts["stem"])
        row |= {
            "network": facts,
            "params": cost.params,
            "params_share": whole.share_as_large(genotype, layout),
            "macs": cost.macs,
            "activation_bytes": activation_bytes(built, 3, facts["size"]),
        }
    return row | ({"true": dict(each.true)} if each.true else {})


def describe(whole: AllCells, genotype: Genotype, cell: str) -> dict[str, Any]:
    """Return the properties of one cell type.

    Shares are of the space's cells that are at most as wide or as deep.
    """
    space = whole.space
    shape = Wiring.of(space, genotype, cell).shape
    kept = {n: genotype[n] for n in edges_of(space, cell) if genotype[n] != NONE}
    sources = Counter(str(edges_of(space, cell)[name][1]) for name in kept)
    free = sum(not ops.parametric(choice) for choice in kept.values())
    every = whole.shapes_of(cell)
    widths = every and _by(every, lambda other: other.width)
    depths = every and _by(every, lambda other: other.depth)
    return {
        "width": float(shape.width),
        "depth": shape.depth,
        "width_share": widths and share_up_to(shape.width, widths),
        "depth_share": depths and share_up_to(shape.depth, depths),
        "wirings": count_wirings(space, cell),
        "edges": len(kept),
        "operations": dict(sorted(Counter(kept.values()).items())),
        "edges_by_source": dict(sorted(sources.items())),
        "parameter_free_share": free / len(kept) if kept else None,
    }


def _by(every: Mapping[Shape, int], part: Callable[[Shape], Number]) -> dict[Number, int]:
    """Return the number of cells by width, or by depth."""
    found: Counter[Number] = Counter()
    for shape, number in every.items():
        found[part(shape)] += number
    return found


def _draw(found: Sequence[Named], wholes: Mapping[Any, AllCells], folder: Path) -> Iterator[Path]:
    """Draw the cells, and per space and cell type their place among all cells."""
    for each in found:
        yield from drawing.draw_cells(
            each.space.cells(each.genotype), folder / each.name, each.name
        )
    drawn: Counter[str] = Counter()
    for key, whole in wholes.items():
        for cell, every in whole.shapes.items():
            if every is None:
                continue
            named: dict[Shape, list[str]] = {}
            for each in found:
                if _key(each.space) == key:
                    shape = Wiring.of(each.space, each.genotype, cell).shape
                    named.setdefault(shape, []).append(each.name)
            name = f"widths-{whole.space.name}-{cell}"
            drawn[name] += 1
            number = f"-{drawn[name]}" if drawn[name] > 1 else ""
            path = folder / f"{name}{number}.png"
            plots.widths_and_depths(
                {(float(s.width), s.depth): n for s, n in every.items()},
                {(float(s.width), s.depth): names for s, names in named.items()},
                f"{whole.space.name}, {cell}",
                path,
            )
            yield path


def told(record: Mapping[str, Any]) -> Iterator[Exhibit | str]:
    """Yield wirings and operations of every cell type, then the costs of the networks."""
    rows = [
        (
            f"{row['name']} {cell}",
            f"{facts['width']:g}c",
            _percentile(facts["width_share"]),
            facts["depth"],
            _percentile(facts["depth_share"]),
            ", ".join(f"{n} from {state}" for state, n in facts["edges_by_source"].items()),
            ", ".join(f"{n} {operation}" for operation, n in facts["operations"].items()),
            _percentile(facts["parameter_free_share"]),
        )
        for row in record["cells"]
        for cell, facts in row["types"].items()
    ]
    shaped = ("cell", "width", "as wide", "depth", "as deep", "edges", "operations", "no weights")
    yield Exhibit("", shaped, rows)
    costs = [
        (
            row["name"],
            f"{row['network']['name']}, C={row['network']['channels']} "
            f"L={row['network']['layers']}",
            f"{row['params']:,}",
            _percentile(row["params_share"]),
            f"{row['macs'] / 1e6:,.1f} M",
            storage(row["activation_bytes"] / 2**30),
        )
        for row in record["cells"]
        if "network" in row
    ]
    if costs:
        costed = (
            "network",
            "built as",
            "parameters",
            "as large",
            "multiply-adds",
            "activations per image",
        )
        yield Exhibit("", costed, costs)
    judged = [
        (row["name"], data, shown(truth), place(truth))
        for row in record["cells"]
        for data, truth in row.get("true", {}).items()
    ]
    if judged:
        yield Exhibit("", ("architecture", "data", "true result", "rank"), judged)
    yield (
        "`as wide`, `as deep` and `as large` are the shares of all cells or networks of the space "
        "that are at most that wide, deep or large"
    )


def _percentile(share: float | None) -> str:
    return "-" if share is None else percent(share)
