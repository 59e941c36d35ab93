"""Ranks a sample of architectures by scores, and compares with a table or with brief training.

Each number is kept as soon as it is known, so that an interrupted command resumes. The true values
are read only after all architectures are scored.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from nasrun.analysis import results
from nasrun.analysis.agreement import agreement, joined, lead, placed
from nasrun.analysis.kept import FORMER, Measurements
from nasrun.analysis.scorers import Sample, Scorer
from nasrun.data.table import Measured, Table, header, true_columns
from nasrun.display import Exhibit, watched
from nasrun.files import read_lines, write_json
from nasrun.genotype import Genotype
from nasrun.pictures import plots

CONTROL = "params"
"""The score that costs nothing, and that others are compared with."""
Column = dict[str, float]
"""Number per architecture; one that cannot be computed is minus infinity and ranks last."""


def column_of(path: Path, column: str | None, data: str | None) -> str:
    """Return the column with the true values, by name or by data set; only the header is read."""
    names = header(path)
    if column is None:
        known = true_columns(names)
        if data in known:
            return known[data]
        if len(known) > 1:
            raise ValueError(f"column=null: table={path} has {', '.join(known.values())}; name one")
        return next(iter(known.values()))
    if column not in names or Measured.of(column) is None:
        raise ValueError(f"column={column}: table={path} has {', '.join(names)}; name one of them")
    return column


def score(
    sample: Sample, scorers: Sequence[Scorer], drawn: Sequence[Genotype], folder: Path
) -> dict[str, list[Mapping[str, Any]]]:
    """Make and keep the missing scores, one scorer after the other; return all by their scorers.

    The file may have scores of other samples, as of another seed. Raises BudgetSpent.
    """
    kept = Measurements(folder, "ranks")
    for line in read_lines(folder / FORMER):
        what = (line["score"], line["place"], line["architecture"], line["made_with"])
        kept.adopt({key: line[key] for key in ("numbers", "seconds")}, *what)
    texts = list(map(sample.space.render, drawn))
    begun, found = False, dict[str, list[Mapping[str, Any]]]()
    for scorer in scorers:
        whats = [(scorer.name, *each, scorer.identity) for each in enumerate(texts)]
        left = [place for place, what in enumerate(whats) if not kept.has(*what)]
        for place in watched(left, f"scoring by {scorer.name}", len(left)):
            if begun and sample.budget is not None:  # a command has one score at least
                sample.budget.check()
            kept.add(_scored(scorer, place, drawn[place]), *whats[place])
            begun = True
        found[scorer.identity] = [
            {"architecture": text, **kept.of(*what)}
            for text, what in zip(texts, whats, strict=True)
        ]
    return found


def _scored(scorer: Scorer, place: int, genotype: Genotype) -> dict[str, Any]:
    before = perf_counter()
    numbers = scorer.numbers(place, genotype)
    return {
        "numbers": {name: value for name, value in numbers.items() if math.isfinite(value)},
        "seconds": round(perf_counter() - before, 4),
    }


def columns_of(scorer: Scorer, lines: Sequence[Mapping[str, Any]]) -> dict[str, Column]:
    """Return the columns of one scorer: its numbers, and its joined score if it has one.

    Architectures that were drawn twice count once.
    """
    names = dict.fromkeys(name for line in lines for name in line["numbers"])
    found: dict[str, Column] = {name: {} for name in names}
    for line in lines:
        for name, column in found.items():
            value = line["numbers"].get(name, -math.inf)
            column.setdefault(line["architecture"], value)
    if scorer.joined is None:
        return found
    parts = [np.array(list(found[name].values())) for name in scorer.joined if name in found]
    together = joined(parts).tolist()
    known = next(iter(found.values()))
    inside = {f"{scorer.name}/{name}": column for name, column in found.items()}
    return {scorer.name: dict(zip(known, together, strict=True)), **inside}


def compare(
    columns: Mapping[str, Column],
    truth: Mapping[str, float],
    seconds: Mapping[str, float],
    *,
    top: int,
    resamples: int,
) -> list[dict[str, Any]]:
    """Return a row per column: how well it ranks the architectures whose true value is known.

    `lead` is what its Kendall's tau has more than that of the control.
    """
    rows = []
    for name, column in watched(columns.items(), "comparing", len(columns)):
        known = [each for each in column if each in truth]
        if len(known) < 2:
            raise ValueError(
                f"{name}: the truth of {len(known)} of its architectures is known; use a complete "
                "table, or a larger count"
            )
        x, y = (np.array([of[each] for each in known]) for of in (column, truth))
        found = agreement(x, y, top=top, resamples=resamples)
        if name != CONTROL and columns.get(CONTROL, {}).keys() >= {*known}:
            control = np.array([columns[CONTROL][each] for each in known])
            found["lead"] = lead(x, control, y, resamples=resamples)
        own = seconds.get(name.partition("/")[0])
        rows.append({"score": name, **found, **({} if own is None else {"seconds": own})})
    return rows


def analyse(
    sample: Sample,
    scorers: Sequence[Scorer],
    judge: Scorer | None,
    *,
    table: str | None,
    column: str | None,
    number: int,
    top: int,
    resamples: int,
    folder: Path,
) -> dict[str, Any]:
    """Score, compare with the table or with the judge's scores, write and draw.

    Without either, the space's own table has the true values; ValueError if it has none.
    """
    source = truth_table(sample, table) if judge is None else judge
    true = column_of(source, column, sample.data) if isinstance(source, Path) else source.name
    with results.writing(folder):
        drawn = sample.draw(number)
        lines = score(sample, [*scorers, *([] if judge is None else [judge])], drawn, folder)
        columns = {k: v for s in scorers for k, v in columns_of(s, lines[s.identity]).items()}
        seconds = {
            s.name: statistics.median(x["seconds"] for x in lines[s.identity]) for s in scorers
        }
        if isinstance(source, Path):
            truth = sample.truth(drawn, Table.read(source).columns[true])
        else:
            truth = _judged(source, lines[source.identity])
        record = {
            "truth": true,
            "table": str(source) if isinstance(source, Path) else None,
            "architectures": number,
            "seed": sample.seed,
            "top": top,
            "resamples": resamples,
            "rows": compare(columns, truth, seconds, top=top, resamples=resamples),
        }
        write_json(folder / "ranks.json", record)
        plots.score_scatter(_panels(columns, truth), true, folder / "ranks.png")
    return record


def truth_table(sample: Sample, table: str | None) -> Path:
    """Return the given table of true values, or the space's own; ValueError without either."""
    if table is None and sample.table is None:
        raise ValueError(
            "space.table=null: give a table of true accuracies, or against=EVALUATOR, whose scores "
            "are then the truth"
        )
    return Path(table or sample.table or "")


def _judged(judge: Scorer, lines: Sequence[Mapping[str, Any]]) -> Column:
    """Return the judge's finite scores; ValueError if there are fewer than two."""
    scores = next(iter(columns_of(judge, lines).values()), {})
    found = {each: value for each, value in scores.items() if math.isfinite(value)}
    if len(found) < 2:
        raise ValueError(
            f"{judge.name}: {len(found)} of its scores are finite, too few to compare with; set "
            "its keys by against.KEY=VALUE, or use a larger count"
        )
    return found


def _panels(
    columns: Mapping[str, Column], truth: Mapping[str, float]
) -> dict[str, list[tuple[float, float]]]:
    """Return, per column, the places of its architectures and their true values."""
    panels = {}
    for name, column in columns.items():
        known = [each for each in column if each in truth]
        places = placed(np.array([column[each] for each in known])).tolist()
        panels[name] = list(zip(places, (truth[each] for each in known), strict=True))
    return panels


def told(record: Mapping[str, Any]) -> Iterator[Exhibit | str]:
    """Yield a row per score; accuracies of a table, and regrets of them, are in percent."""
    column = None if record["table"] is None else Measured.of(record["truth"])
    scale = 1.0 if column is None or column.measure is not None else 100.0
    rows = []
    for row in record["rows"]:
        group = row["best_of_group"]
        spread = "" if group["groups"] < 2 else f" ± {scale * group['std']:.2f}"
        rows.append(
            (
                row["score"],
                row["n"],
                *(_with_interval(row[name], 1.0, 3) for name in ("kendall", "spearman", "ndcg")),
                _with_interval(row["regret"], scale, 2),
                f"{scale * row['best']:.2f}",
                f"{scale * group['mean']:.2f}{spread}" if group["groups"] else "-",
                f"{row['seconds']:.2f}" if "seconds" in row else "-",
            )
        )
    measures = ("Kendall's tau", "Spearman's rho", "nDCG", f"regret of {record['top']}")
    columns = ("score", "n", *measures, "best", "best of 100", "seconds")
    yield Exhibit(f"against {record['truth']}", columns, rows)
    leads = [
        (row["score"], _with_interval(row["lead"], 1.0, 3))
        for row in record["rows"]
        if "lead" in row
    ]
    if leads:
        yield Exhibit(f"Kendall's tau less that of {CONTROL}", ("score", "difference"), leads)


def _with_interval(found: Mapping[str, float | None], scale: float, digits: int) -> str:
    """Return a number with its interval; NaN, which a file has as `null`, is not known."""
    value, low, high = (found[key] for key in ("value", "low", "high"))
    if value is None or math.isnan(value):
        return "-"
    if low is None or high is None or math.isnan(low):
        return f"{scale * value:.{digits}f}"
    return f"{scale * value:.{digits}f} ({scale * low:.{digits}f} to {scale * high:.{digits}f})"
