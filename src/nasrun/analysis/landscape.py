"""The loss around trained networks (Li et al., 1712.09913; Shu, Wang, Cai, 1909.09569).

On a grid around a solution w, loss and gradient variance at w + x d1 + y d2, where d1 and d2 are
random and filter-normalised: every filter of a direction has the norm of the filter of w. As in Li
et al.'s code, biases and batch norms do not move. Between two solutions, the same on the line
w1 + t (w2 - w1). Every row of a grid is kept as soon as it is known, so that a command resumes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib import import_module
from typing import Any

import numpy as np
import torch

from nasrun import ops
from nasrun.analysis import results
from nasrun.analysis.directions import Direction, between, mix, normalised
from nasrun.analysis.kept import Measurements
from nasrun.analysis.solutions import Opened, Solution, moments, told_apart
from nasrun.budget import Budget
from nasrun.config import build_all, compose, import_trusted, resolve
from nasrun.data.splits import Part
from nasrun.display import Exhibit, percent, watched
from nasrun.files import write_json
from nasrun.pictures import measured
from nasrun.selectors.discretisation import recalibrate
from nasrun.stage import Metrics
from nasrun.streams import named
from nasrun.tasks.base import Split

RECORD = "landscape.json"


@dataclass(frozen=True, kw_only=True)
class Where:
    """The points to measure, and how.

    The grid has `grid` x `grid` points at x and y from -`extent` to `extent`, the line `line`
    points from t = -0.25 to 1.25. Batch norms use the solution's running statistics, or with
    `recalibrated` those of the measured images at every point.
    """

    grid: int
    extent: float
    line: int
    part: Part
    images: int
    batch_size: int
    recalibrated: bool
    seed: int

    def __post_init__(self) -> None:
        if self.images < 3:
            raise ValueError(
                f"part={self.part}: has {self.images} images, but the variance of the gradient "
                "needs two batches; use a part with 3 images or more"
            )
        if self.batch_size >= self.images:
            raise ValueError(
                f"batch_size={self.batch_size}: one batch has all images={self.images}, but the "
                f"variance of the gradient needs two batches; use at most {self.images - 1}"
            )

    def at_most(self, images: int, *, same_batches: bool) -> Where:
        """Return these points with no more than this number of images.

        With `same_batches` the batch size stays; else it is the default for that number.
        """
        least = min(self.images, images)
        batch_size = self.batch_size if same_batches else batches_of(least)
        return replace(self, images=least, batch_size=batch_size)

    @property
    def shared(self) -> dict[str, Any]:
        """The settings on which the measurement at every point depends."""
        points = ("grid", "extent", "line")
        return {key: value for key, value in asdict(self).items() if key not in points}

    @property
    def places(self) -> list[float]:
        """Coordinates of the grid; its middle is the solution."""
        return np.linspace(-self.extent, self.extent, self.grid).tolist()

    @property
    def steps(self) -> list[float]:
        """Positions on the line."""
        return np.linspace(-0.25, 1.25, self.line).tolist()


def batches_of(images: int) -> int:
    """Return the default size of batches, of which there are two or more."""
    return max(2, min(100, images // 2))


@dataclass(frozen=True)
class GridRow:
    """An order for the engine: the points of one row, as steps along two directions.

    `ends` are the solution, and for a line the solution to which it leads.
    """

    ends: tuple[Solution, ...]
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class MeasureRow:
    """The engine's job: measure loss and gradient at the points of a row."""

    where: Where
    budget: Budget
    trust: tuple[str, ...]
    modules: tuple[str, ...]

    def __call__(self, order: GridRow) -> list[Metrics]:
        for module in (*self.trust, *self.modules):  # another process has to know them too
            import_module(module)
        self.budget.apply_in_process()
        first, *others = map(self._opened, order.ends)
        if others:
            directions = [between(first, others[0])]
        else:
            directions = [
                normalised(first.network, named(self.where.seed, "direction", axis))
                for axis in ("x", "y")
            ]
        buffers = [{n: b.clone() for n, b in e.network.named_buffers()} for e in (first, *others)]
        split = first.images(self.where.part, self.where.images)
        return [self._at(first, split, directions, point, buffers) for point in order.points]

    def _opened(self, solution: Solution) -> Opened:
        """Return a solution, opened once per process."""
        if solution.digest not in self._known:
            self._known[solution.digest] = solution.opened(self.budget, self.trust)
        return self._known[solution.digest]

    @cached_property
    def _known(self) -> dict[str, Opened]:
        """The solutions that are open in the process that measures, by their digests."""
        return {}

    def _at(
        self,
        solution: Opened,
        split: Split,
        directions: Sequence[Direction],
        point: tuple[float, float],
        buffers: Sequence[Direction],
    ) -> Metrics:
        network, weights = solution.network, solution.weights()
        try:
            with torch.no_grad():
                for direction, step in zip(directions, point, strict=False):
                    for name, parameter in network.named_parameters():
                        if name in direction:
                            parameter.add_(direction[name], alpha=step)
                if len(buffers) == 2:
                    mix(network, buffers[0], buffers[1], point[0])
            if self.where.recalibrated:
                recalibrate(network, split, self.where.batch_size)
            return moments(network, split, self.where.batch_size)
        finally:
            network.load_state_dict({**weights, **buffers[0]})
            network.eval()


def sharpness(losses: Sequence[Sequence[float]], places: Sequence[float]) -> dict[str, float]:
    """Return figures of a grid of losses; non-finite losses count as infinite.

    `below_twice` is the share of points with less than twice the least loss, `curvature` the
    largest eigenvalue of the 2 x 2 matrix of second differences in the middle, `most_curvature` the
    largest of those at all points inside.
    """
    grid = np.array(losses, dtype=float)
    grid[~np.isfinite(grid)] = np.inf
    found = {"least": float(grid.min()), "below_twice": float((grid < 2 * grid.min()).mean())}
    step = places[1] - places[0]
    middle, last = len(places) // 2, len(places) - 1
    inside = []
    for i in range(1, last):
        for j in range(1, last):
            around = grid[i - 1 : i + 2, j - 1 : j + 2]
            if np.isfinite(around).all():
                value = _curvature(around, step)
                inside.append(value)
                if i == j == middle:
                    found["curvature"] = value
    return {**found, "most_curvature": max(inside)} if inside else found


def _curvature(around: np.ndarray[Any, np.dtype[np.float64]], step: float) -> float:
    """Return the largest eigenvalue of the second differences of 3 x 3 values."""
    yy = around[2, 1] - 2 * around[1, 1] + around[0, 1]
    xx = around[1, 2] - 2 * around[1, 1] + around[1, 0]
    xy = (around[2, 2] - around[2, 0] - around[0, 2] + around[0, 0]) / 4
    return float(np.linalg.eigvalsh(np.array([[xx, xy], [xy, yy]]) / step**2)[-1])


def analyse(
    paths: Sequence[str],
    where: Where,
    overrides: Sequence[str],
    *,
    typed: Collection[str],
    branch: str | None,
    root: str | None,
    out: str | None,
    trust: Sequence[str],
) -> dict[str, Any]:
    """Measure the rows that are not kept, write, and draw.

    Where a part has fewer images than `where` asks for, all are used, unless `images` is among the
    `typed` keys. `root` is the place of data that were moved.
    """
    import_trusted(trust)
    found = told_apart([Solution.at(path, branch, root) for path in paths])
    config = compose(overrides).config
    nodes = {key: resolve(config[key]) for key in ("budget", "engine")}
    budget, engine = build_all(nodes, trust).values()
    engine.check(budget)
    budget.apply()
    opened = [each.opened(budget, trust) for each in found]
    found = [replace(a, contents=b.contents) for a, b in zip(found, opened, strict=True)]
    if "images" not in typed:
        most = min(each.count(where.part) for each in opened)
        where = where.at_most(most, same_batches="batch_size" in typed)
    for each in opened:
        each.images(where.part, where.images)
    if where.line:
        _refuse_unlike(found, opened)
    folder = results.place("landscape", None, out)
    kept = Measurements(folder, ["landscape", where.shared, budget.arithmetic])
    rows = [
        GridRow((each,), tuple((x, y) for x in where.places))
        for each in found
        for y in where.places
    ]
    if where.line:
        steps, length = [(t, 0.0) for t in where.steps], max(where.grid, 5)
        parts = [tuple(steps[n : n + length]) for n in range(0, len(steps), length)]
        rows += [GridRow(tuple(found), part) for part in parts]
    with results.writing(folder):
        waiting = [row for row in rows if not kept.has(*_what(row))]
        job = MeasureRow(where, budget, tuple(trust), ops.modules(ops.known()))
        try:
            done = engine.run(job, waiting, budget.resolved["threads"])
            for number, (place, values) in enumerate(
                watched(done, "measuring rows", len(waiting)), 1
            ):
                kept.add(values, *_what(waiting[place]))
                if number < len(waiting):
                    budget.check()
        finally:
            engine.close()
        record = _record(found, rows, where, kept)
        write_json(folder / RECORD, record)
        pictures = measured.landscapes(record, folder)
    return {**record, "pictures": list(map(str, pictures))}


def _what(row: GridRow) -> tuple[object, ...]:
    return *((end.digest, end.contents) for end in row.ends), row.points


def _refuse_unlike(found: Sequence[Solution], opened: Sequence[Opened]) -> None:
    if len(found) != 2:
        raise ValueError(f"line: joins two solutions, not {len(found)}; give two, or use line=0")
    first, second = ({n: w.shape for n, w in each.weights().items()} for each in opened)
    if first != second or found[0].genotype != found[1].genotype:
        raise ValueError(
            f"line: {found[0].name} and {found[1].name} are not the same network; give two "
            "trainings of one cell, or use line=0"
        )


def _record(
    found: Sequence[Solution], rows: Sequence[GridRow], where: Where, kept: Measurements
) -> dict[str, Any]:
    planes = []
    for each in found if where.grid else ():
        own = [kept.of(*_what(row)) for row in rows if row.ends == (each,)]
        grids = {key: [[point[key] for point in row] for row in own] for key in own[0][0]}
        losses = [[np.nan if loss is None else loss for loss in row] for row in grids["loss"]]
        middle = own[len(own) // 2][len(own) // 2]
        planes.append(
            {"name": each.name, "middle": middle, **sharpness(losses, where.places), "grids": grids}
        )
    record: dict[str, Any] = {"where": asdict(where), "places": where.places, "planes": planes}
    if where.line:
        points = [point for row in rows if len(row.ends) == 2 for point in kept.of(*_what(row))]
        ends = [each.name for each in found]
        record["line"] = {"ends": ends, "steps": where.steps, "points": points}
    return record


def told(record: Mapping[str, Any]) -> Iterator[Exhibit | str]:
    """Yield the figures of every solution, and the barrier on a line."""
    rows = [
        (
            each["name"],
            f"{each['middle']['loss']:.4f}",
            percent(each["middle"]["accuracy"]),
            f"{each['middle']['variance']:.4g}",
            percent(each["below_twice"]),
            *(
                f"{each[key]:.4g}" if key in each else "-"
                for key in ("curvature", "most_curvature")
            ),
        )
        for each in record["planes"]
    ]
    if rows:
        heads = ("loss", "accuracy", "gradient variance", "points below twice the least loss")
        yield Exhibit("", ("solution", *heads, "curvature", "largest curvature"), rows)
    if "line" in record:
        inside = [
            point["loss"]
            for t, point in zip(record["line"]["steps"], record["line"]["points"], strict=True)
            if 0 <= t <= 1 and point["loss"] is not None
        ]
        ends = " and ".join(record["line"]["ends"])
        largest = f"{max(inside):.4f}" if inside else "none is finite"
        yield f"largest loss between {ends}: {largest}"
