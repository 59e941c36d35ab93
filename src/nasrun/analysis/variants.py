"""Random variants of a cell: new connections or new operations (1909.09569).

New connections keep the operations of every node, new operations keep the connections.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import permutations
from pathlib import Path
from typing import Any

import torch

from nasrun.analysis.wiring import MOST, Wiring, cells_of, count_wirings, edges_of, shapes, wirings
from nasrun.config import import_trusted
from nasrun.config.given import architecture_of
from nasrun.display import Exhibit
from nasrun.files import read_json, write_json
from nasrun.genotype import NONE, Genotype
from nasrun.pictures import plots
from nasrun.spaces.decision import DecisionSpace

RECORD = "variants.json"
Draw = Callable[[int], int]
"""Draws a whole number from 0 to below its argument."""


def analyse(
    name: str,
    *,
    change: str,
    cell: str | None,
    number: int,
    widths: Sequence[Fraction],
    seed: int,
    space: str | None,
    folder: Path,
    trust: Sequence[str],
) -> dict[str, Any]:
    """Draw `number` variants, equally many per width, and write each as a genotype file."""
    import_trusted(trust)
    short, genotype, home = architecture_of(name, space, trust)
    types = cells_of(home)
    assert isinstance(home, DecisionSpace)
    chosen = types[0] if cell is None else cell
    if chosen not in types:
        raise ValueError(f"cell={chosen}: space={home.name} has {', '.join(types)}; use one")
    settings = {
        "genotype": home.render(genotype),
        "change": change,
        "cell": chosen,
        "count": number,
        "widths": [float(width) for width in widths],
        "seed": seed,
    }
    refuse_others(folder, settings)
    generator = torch.Generator().manual_seed(seed)

    def draw(below: int) -> int:
        return int(torch.randint(below, (), generator=generator))

    if change == "operations":
        found = list(reoperated(home, genotype, chosen, number, draw))
    else:
        found = list(rewired(home, genotype, chosen, number, widths, draw))
    rows = []
    folder.mkdir(parents=True, exist_ok=True)
    times: Counter[str] = Counter()
    for variant in found:
        shape = Wiring.of(home, variant, chosen).shape
        stem = f"{short}-{float(shape.width):g}c" if change == "connections" else f"{short}-ops"
        times[stem] += 1
        path = folder / f"{stem}-{times[stem]}.json"
        write_json(path, variant.to_json())
        rows.append(
            {
                "name": path.stem,
                "file": path.name,
                "genotype": home.render(variant),
                "width": float(shape.width),
                "depth": shape.depth,
            }
        )
    _draw(home, chosen, rows, folder)
    record = {"settings": settings, "variants": rows}
    write_json(folder / RECORD, record)
    return record


def refuse_others(folder: Path, settings: Mapping[str, Any]) -> None:
    """Raise ValueError if the folder has variants that were drawn with other settings."""
    if (folder / RECORD).exists() and read_json(folder / RECORD).get("settings") != settings:
        raise ValueError(f"out={folder}: has variants of other settings; name another folder")


def rewired(
    space: DecisionSpace,
    genotype: Genotype,
    cell: str,
    number: int,
    widths: Sequence[Fraction],
    draw: Draw,
) -> Iterator[Genotype]:
    """Yield variants with other connections, each wiring once; without `widths`, of any width.

    Raises ValueError if there are fewer.
    """
    every = count_wirings(space, cell)
    if every > MOST:
        raise ValueError(
            f"space={space.name}: {every:,} wirings, more than the {MOST:,} that are enumerated; "
            "use change=operations"
        )
    pools: dict[Fraction, list[tuple[str, ...]]] = {}
    own = _kept(space, genotype, cell)
    for kept, _ in wirings(space, cell):
        if kept != own and all(_assignments(space, genotype, kept, own)):
            pools.setdefault(Wiring.among(space, cell, kept).width, []).append(kept)
    if not widths:
        pools = {Fraction(-1): [kept for pool in pools.values() for kept in pool]}
    for width in widths or [Fraction(-1)]:
        pool, count = pools.get(width, []), number // max(1, len(widths))
        if len(pool) < count:
            of = f"widths=[{float(width):g}]" if widths else f"count={number}"
            raise ValueError(
                f"{of}: {len(pool)} other wirings keep the operations of every node, not {count}; "
                f"use a smaller count"
            )
        for _ in range(count):
            kept = pool.pop(draw(len(pool)))
            changed = dict.fromkeys(own, NONE)
            for ways in _assignments(space, genotype, kept, own):
                changed |= ways[draw(len(ways))]
            yield genotype.changed(changed)


def _kept(space: DecisionSpace, genotype: Genotype, cell: str) -> tuple[str, ...]:
    """Return the edges of a cell, node by node."""
    return tuple(name for name in edges_of(space, cell) if genotype[name] != NONE)


def _assignments(
    space: DecisionSpace, genotype: Genotype, kept: Sequence[str], own: Sequence[str]
) -> list[list[dict[str, str]]]:
    """Return, per node, all ways to give its operations to new edges; empty if numbers differ."""
    decisions = {decision.name: decision for decision in space.decisions}
    found = []
    for node in dict.fromkeys(decisions[name].node for name in (*own, *kept)):
        edges = [name for name in kept if decisions[name].node == node]
        operations = [genotype[name] for name in own if decisions[name].node == node]
        orders = permutations(operations) if len(operations) == len(edges) else ()
        given = [dict(zip(edges, order, strict=True)) for order in orders]
        found.append(
            [way for way in given if all(c in decisions[n].choices for n, c in way.items())]
        )
    return found


def reoperated(
    space: DecisionSpace, genotype: Genotype, cell: str, number: int, draw: Draw
) -> Iterator[Genotype]:
    """Yield variants with other operations, each once; ValueError if there are fewer."""
    edges = _kept(space, genotype, cell)
    candidates = {
        decision.name: [c for c in decision.choices if c != NONE]
        for decision in space.decisions
        if decision.name in edges
    }
    known = {genotype}
    for _ in range(100 * number):
        if len(known) > number:
            return
        chosen = {name: options[draw(len(options))] for name, options in candidates.items()}
        variant = genotype.changed(chosen)
        if variant not in known:
            known.add(variant)
            yield variant
    if len(known) <= number:
        raise ValueError(f"count={number}: found {len(known) - 1} variants; use a smaller count")


def _draw(space: DecisionSpace, cell: str, rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Draw the variants among all cells of their space."""
    if count_wirings(space, cell) > MOST:
        return
    every = {(float(s.width), s.depth): n for s, n in shapes(space, cell).items()}
    times = Counter((row["width"], row["depth"]) for row in rows)
    named = {shape: [f"{count} variants"] for shape, count in times.items()}
    plots.widths_and_depths(every, named, f"{space.name}, {cell}", folder / "variants.png")


def told(record: Mapping[str, Any]) -> Iterator[Exhibit | str]:
    """Yield a row per variant."""
    rows = [
        (row["name"], row["genotype"], f"{row['width']:g}c", row["depth"])
        for row in record["variants"]
    ]
    yield Exhibit("", ("variant", "genotype", "width", "depth"), rows)
