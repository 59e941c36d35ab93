"""The architectures on a page: who chose each, and its cells as SVG in the page's colours."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nasrun.config import build
from nasrun.config.stages import KINDS, SELECT
from nasrun.data.table import describe
from nasrun.genotype import Genotype, fingerprint
from nasrun.pages.entrants import RANDOM, Entrant
from nasrun.pictures.cells import FAMILIES, family_of
from nasrun.pictures.graph import FLOW, OUTPUT, Arc, Graph
from nasrun.pictures.layered import XY, Box, Drawing, Route, layout
from nasrun.runs.groups import Seeded

INCH = 96.0
"""CSS pixels per inch of the layout."""
ARROW = 7.0
MARGIN = 2.0
GAP = 18.0
"""Room between the rows of a long chain."""


@dataclass(frozen=True)
class EdgePicture:
    """The path of an edge, its arrow head, and the class of its operation."""

    path: str
    arrow: str
    classes: str


@dataclass(frozen=True)
class Plate:
    """A box with a text: a node or the operation of an edge; `below` is a subscript."""

    x: float
    y: float
    width: float
    height: float
    text: str
    below: str
    classes: str

    @property
    def left(self) -> float:
        return round(self.x - self.width / 2, 1)

    @property
    def top(self) -> float:
        return round(self.y - self.height / 2, 1)


@dataclass(frozen=True)
class CellPicture:
    """A cell as SVG, and in words."""

    name: str
    width: float
    height: float
    edges: tuple[EdgePicture, ...]
    plates: tuple[Plate, ...]
    words: str


@dataclass
class Architecture:
    """An architecture that runs chose or drew, with its cells or the reason why there are none."""

    text: str
    cells: tuple[CellPicture, ...] = ()
    reason: str = ""
    true: str = ""
    """Its true results on the data sets of a table, if they were looked up."""
    by: dict[str, list[str]] = field(default_factory=dict)
    drawn: bool = True
    """Whether only baselines have it."""

    @property
    def title(self) -> str:
        """Who chose it, with the seeds."""
        return "; ".join(
            f"{name}, {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(seeds)}"
            for name, seeds in self.by.items()
        )


def architectures(every: Sequence[Entrant], trusted: Sequence[str]) -> list[Architecture]:
    """Return each architecture once: selected ones first, then those of other trainings."""
    found: dict[Any, Architecture] = {}
    spaces: dict[str, Any] = {}
    for kept in sorted(every, key=lambda kept: kept.group.kind != SELECT.name):
        for member in kept.group.members:
            if (text := _text(kept, member)) is None:
                continue
            home = fingerprint(member.run.config["space"])
            if (home, text) not in found:
                if home not in spaces:
                    spaces[home] = _space(member, trusted)
                found[home, text] = _architecture(text, member, spaces[home])
            if true := (member.result or {}).get("true"):
                found[home, text].true = describe(true)
            found[home, text].drawn &= kept.is_random
            seeds = found[home, text].by.setdefault(kept.name, [])
            seed = str(member.run.record.get("seed"))
            if seed not in seeds:
                seeds.append(seed)
    return list(found.values())


def _text(kept: Entrant, member: Seeded) -> str | None:
    """Return the architecture of a stage in words, `None` before it is known.

    A training whose architecture a run selected is left out.
    """
    if kept.group.kind == SELECT.name:
        return str(member.result["genotype"]) if member.result else None
    trains = KINDS[kept.group.kind].trains
    if not trains or any(
        stage.kind == SELECT.name and stage.branch == member.stage.source
        for stage in member.run.stages()
    ):
        return None
    text = str((member.result or {}).get("genotype") or member.stage.config["source"])
    return None if text == RANDOM else text  # one that is drawn is known when it is trained


def _space(member: Seeded, trusted: Sequence[str]) -> Any:
    """Return the space of a run, or why it cannot be built."""
    try:
        return build(member.run.config["space"], "space", trusted)
    except ValueError as error:
        return str(error)


def _architecture(text: str, member: Seeded, space: Any) -> Architecture:
    if isinstance(space, str):
        return Architecture(text, reason=space)
    try:
        if member.stage.kind == SELECT.name:
            genotype = Genotype.read(member.stage.path / "genotype.json")
        else:
            genotype = Genotype.from_json(member.stage.config.get("genotype"))
        cells = space.cells(space.check(genotype))
    except (ValueError, OSError) as error:
        return Architecture(text, reason=str(error))
    return Architecture(space.render(genotype), tuple(_cell(*each) for each in cells.items()))


def _cell(name: str, arcs: Sequence[Arc]) -> CellPicture:
    """Lay a cell out; the rows of a long chain stand one below the other."""
    graph = Graph.of(arcs)
    rows = [layout(row) for row in graph.rows()]
    edges: list[EdgePicture] = []
    plates: list[Plate] = []
    top, width = MARGIN, 0.0
    for row in rows:
        edges += (_edge(route, top) for route in row.routes)
        plates += _plates(row, graph, top)
        top += INCH * row.height + GAP
        width = max(width, INCH * row.width)
    size = (round(width + 2 * MARGIN, 1), round(top - GAP + MARGIN, 1))
    return CellPicture(name or "network", *size, tuple(edges), tuple(plates), _words(name, graph))


def _words(name: str, graph: Graph) -> str:
    told = [f"{source} to {target}{f' by {operation}' if operation else ''}"
            for source, target, operation in graph.edges]  # fmt: skip
    return re.sub("[{}]", "", f"{name or 'network'}: {', '.join(told)}.")


def _edge(route: Route, top: float) -> EdgePicture:
    """Return the picture of an edge: its line and its arrow as paths of SVG."""

    def placed(point: XY) -> XY:
        return MARGIN + INCH * point[0], top + INCH * point[1]

    x, y = placed(route.points[0])
    path = f"M{x:.1f} {y:.1f}"
    for start, end, curved in route.pieces():
        (x0, y0), (x, y) = placed(start), placed(end)
        if curved:
            middle = (x0 + x) / 2
            path += f"C{middle:.1f} {y0:.1f} {middle:.1f} {y:.1f} {x:.1f} {y:.1f}"
        else:
            path += f"H{x:.1f}"
    arrow = f"M{x:.1f} {y:.1f}l{-ARROW:g} {-ARROW / 2:g}v{ARROW:g}z"
    return EdgePicture(path, arrow, _classes(route.edge[2]))


def _classes(operation: str) -> str:
    return f"f{FAMILIES.index(family_of(operation))}" if operation else "joined"


def _plates(row: Drawing, graph: Graph, top: float) -> Iterator[Plate]:
    for route in row.routes:
        if route.label is not None:
            yield _plate(route.label, top, route.edge[2], f"label {_classes(route.edge[2])}")
    for name, box in row.nodes.items():
        kind = "input" if name in graph.inputs else "node"
        if name in (OUTPUT, FLOW[1]):
            kind = "output"
        yield _plate(box, top, name, "dead" if name in graph.dead else kind)


def _plate(box: Box, top: float, text: str, classes: str) -> Plate:
    found = re.fullmatch(r"(\w)_\{(.*)\}", text)
    text, below = found.groups() if found else (text, "")
    places = (MARGIN + INCH * box.x, top + INCH * box.y, INCH * box.width, INCH * box.height)
    x, y, width, height = (round(place, 1) for place in places)
    return Plate(x, y, width, height, text, below, classes)


def families(every: Sequence[Architecture]) -> Mapping[str, str]:
    """Return the families of operations that are drawn, by their classes."""
    drawn = {edge.classes for each in every for cell in each.cells for edge in cell.edges}
    known = {f"f{place}": family.name for place, family in enumerate(FAMILIES)}
    return {classes: name for classes, name in known.items() if classes in drawn}
