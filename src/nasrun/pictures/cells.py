"""Figures of architectures: the cell types side by side, each as a graph with its operations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nasrun.pictures.figure import INK, save
from nasrun.pictures.graph import FLOW, OUTPUT, Arc, Graph
from nasrun.pictures.layered import (
    FONT,
    LABEL_FONT,
    Box,
    Drawing,
    Route,
    layout,
    text_width,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.path import Path as MatplotlibPath


class Family(NamedTuple):
    """Operations of one colour: those that the pattern is found in."""

    name: str
    pattern: str
    colour: str


FAMILIES = (
    Family("separable convolution", "sep_conv", "#0072B2"),
    Family("dilated convolution", "dil_conv", "#D55E00"),
    Family("convolution", r"nor_conv|^conv\d", "#56B4E9"),
    Family("pooling", "pool", "#009E73"),
    Family("skip connection", "skip|identity|^add$|^concat$", "#CC79A7"),
    Family("other", "", "#8C6D00"),
)
"""The first match counts; colours distinguishable without red or green (Okabe and Ito)."""
CONCATENATION = "#A0A0A0"

# Inches, but for the font sizes (points).
NAME_FONT, TITLE_FONT = 11.0, 12.0
MARGIN, PANEL_GAP, TITLE_HEIGHT, NAME_HEIGHT, LEGEND_HEIGHT = 0.2, 0.6, 0.36, 0.34, 0.4


def draw_cells(cells: Mapping[str, Sequence[Arc]], stem: Path, title: str = "") -> list[Path]:
    """Draw every cell type of an architecture side by side, as `<stem>.svg` and `<stem>.png`.

    `cells` maps a cell type to its edges. Nodes named by integers, all from 0 to the largest, are
    intermediate: they are concatenated to the output, unless edges without an operation lead from
    some of them to `c_{k}`. Returns both paths.
    """
    from matplotlib import rc_context

    figure = _figure(cells, title)
    paths = cell_pictures(stem)
    # Only rc parameters can keep SVG text as text and its ids the same in every run.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "nasrun"}):
        save(figure, paths[0], metadata={"Date": None})
    save(figure, paths[1], dpi=200)
    return paths


def cell_pictures(stem: Path) -> list[Path]:
    """Return the paths of the pictures of `draw_cells`."""
    return [stem.with_name(stem.name + suffix) for suffix in (".svg", ".png")]


@dataclass(frozen=True)
class _Panel:
    """A cell type and its rows, one below the other: a single row but for long chains."""

    name: str
    graph: Graph
    rows: tuple[Drawing, ...]

    @classmethod
    def of(cls, name: str, edges: Sequence[Arc]) -> _Panel:
        graph = Graph.of(edges)
        return cls(name, graph, tuple(map(layout, graph.rows())))

    @property
    def width(self) -> float:
        return max(row.width for row in self.rows)

    @property
    def height(self) -> float:
        return sum(row.height for row in self.rows) + PANEL_GAP / 2 * (len(self.rows) - 1)


def _figure(cells: Mapping[str, Sequence[Arc]], title: str) -> Figure:
    """Draw all cells from left to right, a title above and a legend of colours below, in inches."""
    from matplotlib.figure import Figure

    assert cells, "no cells to draw"
    panels = [_Panel.of(name, edges) for name, edges in cells.items()]
    families = _families(operation for edges in cells.values() for _, _, operation in edges)
    content = sum(panel.width for panel in panels) + PANEL_GAP * (len(panels) - 1)
    width = max(content, text_width(title, TITLE_FONT), _legend_width(families)) + 2 * MARGIN
    title_height = TITLE_HEIGHT if title else 0.0
    tallest = max(panel.height for panel in panels)
    height = title_height + NAME_HEIGHT + tallest + 2 * MARGIN
    height += LEGEND_HEIGHT if families else 0.0
    figure = Figure(figsize=(width, height), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    _write(axes, width / 2, MARGIN + title_height / 3, title, TITLE_FONT, weight="bold")
    left, top = (width - content) / 2, MARGIN + title_height
    for panel in panels:
        _draw_panel(axes, panel, left, top, tallest)
        left += panel.width + PANEL_GAP
    _draw_legend(axes, families)
    return figure


def _families(operations: Iterable[str]) -> list[Family]:
    """Return the families among the operations; none if one colour is enough."""
    present = {family_of(operation) for operation in operations if operation}
    return [family for family in FAMILIES if family in present] if len(present) > 1 else []


def family_of(operation: str) -> Family:
    """Return the family of an operation."""
    return next(family for family in FAMILIES if re.search(family.pattern, operation))


def _legend_width(families: list[Family]) -> float:
    return sum(text_width(family.name, LABEL_FONT) + 0.5 for family in families)


def _draw_legend(axes: Axes, families: list[Family]) -> None:
    from matplotlib.lines import Line2D

    if families:
        axes.legend(
            handles=[Line2D([], [], color=it.colour, lw=2.2, label=it.name) for it in families],
            loc="lower center",
            ncols=len(families),
            fontsize=LABEL_FONT,
            labelcolor=INK,
            frameon=False,
            handlelength=1.5,
            columnspacing=1.4,
        )


def _draw_panel(axes: Axes, panel: _Panel, left: float, top: float, height: float) -> None:
    """Draw a cell type's name, and below it the rows, centred vertically."""
    middle = left + panel.width / 2
    _write(axes, middle, top + NAME_HEIGHT / 3, panel.name, NAME_FONT, style="italic")
    y = top + NAME_HEIGHT + (height - panel.height) / 2
    for row in panel.rows:
        x = left + (panel.width - row.width) / 2 if len(panel.rows) == 1 else left
        for route in row.routes:
            _draw_edge(axes, route, x, y)
        for name, box in row.nodes.items():
            _draw_node(axes, name, box.moved(x, y), panel.graph)
        y += row.height + PANEL_GAP / 2


def _draw_edge(axes: Axes, route: Route, x: float, y: float) -> None:
    from matplotlib.patches import FancyArrowPatch, PathPatch

    _, _, operation = route.edge
    colour = family_of(operation).colour if operation else CONCATENATION
    zorder = 2 if operation else 1
    curve = _curve(route, x, y)
    arrow = FancyArrowPatch(
        path=curve,
        arrowstyle="-|>,head_length=4.5,head_width=2.2",
        mutation_scale=1,
        linewidth=1.3 if operation else 1.0,
        edgecolor=colour,
        facecolor=colour,
        capstyle="butt",
        joinstyle="miter",
        zorder=zorder,
    )
    # Where edges cross, the white seam shows which is which.
    axes.add_patch(PathPatch(curve, fill=False, edgecolor="white", lw=3.5, zorder=zorder))
    axes.add_patch(arrow)
    if route.label is not None:
        label = route.label.moved(x, y)
        _draw_box(axes, label, edgecolor=colour, facecolor="white", linewidth=0.8, zorder=3)
        _write(axes, label.x, label.y, operation, LABEL_FONT)


def _curve(route: Route, x: float, y: float) -> MatplotlibPath:
    """Return the line of an edge, moved to the right and down."""
    from matplotlib.path import Path as MatplotlibPath

    vertices, codes = [route.points[0]], [MatplotlibPath.MOVETO]
    for (x0, y0), (x1, y1), curved in route.pieces():
        if curved:
            middle = (x0 + x1) / 2
            vertices += [(middle, y0), (middle, y1), (x1, y1)]
            codes += [MatplotlibPath.CURVE4] * 3
        else:
            vertices.append((x1, y1))
            codes.append(MatplotlibPath.LINETO)
    return MatplotlibPath([(x + px, y + py) for px, py in vertices], codes)


def _draw_node(axes: Axes, name: str, box: Box, graph: Graph) -> None:
    """Inputs, outputs and intermediate nodes differ in colour; a dead node is dashed."""
    colour = "#DDEFE3" if name in graph.inputs else "#DCE8F5"
    if name in (OUTPUT, FLOW[1]):
        colour = "#FBF0CF"
    dead = name in graph.dead
    _draw_box(
        axes,
        box,
        edgecolor="#999999" if dead else INK,
        facecolor="white" if dead else colour,
        linestyle="--" if dead else "-",
        linewidth=0.9,
        zorder=3,
    )
    # The literature's c_{k-2} is a formula; other names, say conv_1, are to be read as they are.
    _write(axes, box.x, box.y, f"${name}$" if re.fullmatch(r"\w_\{.*\}", name) else name, FONT)


def _draw_box(axes: Axes, box: Box, **style: Any) -> None:
    from matplotlib.patches import BoxStyle, FancyBboxPatch

    corner = (box.x - box.width / 2, box.y - box.height / 2)
    rounded = BoxStyle("Round", pad=0, rounding_size=0.06)
    axes.add_patch(FancyBboxPatch(corner, box.width, box.height, boxstyle=rounded, **style))


def _write(axes: Axes, x: float, y: float, text: str, size: float, **style: Any) -> None:
    axes.text(
        x,
        y,
        text,
        size=size,
        color=INK,
        ha="center",
        va="center_baseline",
        parse_math=text.startswith("$"),
        zorder=4,
        **style,
    )
