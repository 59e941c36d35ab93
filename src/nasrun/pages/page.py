"""Writes the page: gathers what its parts tell, and fills the template.

The same runs give the same bytes. Every text is escaped by Jinja2, and a policy in the page forbids
scripts and requests, so that nothing that a run's files contain can run or call home.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from nasrun.config import import_trusted
from nasrun.display import is_numeric
from nasrun.files import write_text
from nasrun.pages import account, classes, contrasts, entrants, origins, results, stages
from nasrun.pages.analyses import analyses
from nasrun.pages.architectures import architectures, families
from nasrun.pages.curves import curves
from nasrun.pages.sources import Sources
from nasrun.runs.groups import grouped
from nasrun.runs.run import Run
from nasrun.runs.stage_folder import StageFolder
from nasrun.shown import shown
from nasrun.stage import Metrics

TEMPLATES = Path(__file__).parent / "templates"
MARK = '<meta name="generator" content="nasrun report">'
"""By this line a page is known as ours, so that it may be written anew."""
NAME = "report.html"


@dataclass(frozen=True)
class Written:
    """A page on disk."""

    path: Path
    runs: int
    size: int


def write(sources: Sources, out: str | None, trusted: Sequence[str] = ()) -> Written:
    """Write the page about runs; ValueError if there is nothing to tell, or no place for it."""
    path = _place(sources, out)
    import_trusted(trusted)
    text = page(sources, trusted)
    write_text(path, text)
    return Written(path, len(sources.runs), len(text.encode()))


def _place(sources: Sources, out: str | None) -> Path:
    """Return the file of the page; ValueError if it is another file, or cannot be written."""
    path = sources.home / NAME if out is None else Path(out)
    if path.suffix not in (".html", ".htm"):
        raise ValueError(f"out={path}: a page is HTML; use a name that ends in .html")
    if path.is_dir():
        raise ValueError(f"out={path}: is a folder; name a file in it")
    if not path.absolute().parent.is_dir():
        raise ValueError(f"out={path}: its folder is missing; make it first")
    if not os.access(path.absolute().parent, os.W_OK):
        raise ValueError(f"out={path}: no permission to write there; name another file by out=")
    if path.exists() and MARK not in path.read_text(encoding="utf-8", errors="replace")[:2000]:
        raise ValueError(f"out={path}: this file exists and is no report; name another")
    return path


def page(sources: Sources, trusted: Sequence[str] = ()) -> str:
    """Return the page about runs; ValueError if none of them can be shown."""
    groups, damaged = grouped(sources.runs)
    runs = [Run(path) for path in sources.runs if path not in damaged]
    if not groups:
        reasons = [*damaged.values(), *(f"{run.path}: no stage has begun" for run in runs)]
        raise ValueError(f"{reasons[0]}; there is nothing to report, name other runs")
    every = account.configurations(runs)
    names = account.labels(sources.runs)
    kept = entrants.named(groups, {mark: each.letter for mark, each in every.items()})
    logged, unreadable = _logged(kept)
    found = architectures(kept, trusted)
    shown_settings = list(every.values())
    recognised, unread = classes.by_class(kept)
    errors = [
        *unreadable,
        *unread,
        *(f"This job of the sweep failed: {job}." for job in sources.failed),
    ]
    missing = [
        *(
            f"{names[str(path)]} cannot be read: {_named(damaged[path], names)}."
            for path in damaged
        ),
        *account.missing(every, kept, logged, names),
        *(_named(error, names) for error in errors),
    ]
    return _filled(
        title=account.title(shown_settings),
        configurations=shown_settings,
        lead=account.lead(shown_settings, kept),
        missing=missing,
        made_with=account.made_with(shown_settings),
        differing=account.differing(shown_settings) if len(every) > 1 else [],
        names=names,
        comparisons=list(results.comparisons(kept)),
        contrast_columns=contrasts.COLUMNS,
        validated=stages.validated(kept),
        incomparable=stages.incomparable(kept) if len(every) > 1 else "",
        discretised=stages.discretised(kept),
        discretised_columns=list(stages.DISCRETISED.values()),
        classes=recognised,
        class_columns=classes.COLUMNS,
        singles=list(stages.singles(kept, account.labels(sources.runs, least=1), logged)),
        curves=list(curves(kept, logged)),
        chosen=[each for each in found if not each.drawn],
        drawn=[each for each in found if each.drawn],
        families=families(found),
        analyses=list(analyses({run: names[str(run.path)] for run in runs})),
        origins=list(origins.origins(shown_settings, kept, names)),
        environments=origins.environments(shown_settings, names),
    )


def _named(text: str, names: Mapping[str, str]) -> str:
    """Return a text with the names of runs in place of their paths."""
    longest = sorted(names, key=len, reverse=True)
    path = re.compile(rf"(?<![\w./-])({'|'.join(map(re.escape, longest))})(?![\w-])")
    return path.sub(lambda found: names[found[0]], text)


def _logged(kept: Sequence[entrants.Entrant]) -> tuple[dict[StageFolder, list[Metrics]], list[str]]:
    """Return the rounds of all stages, and the errors of logs that cannot be read."""
    rows: dict[StageFolder, list[Metrics]] = {}
    errors = []
    for each in kept:
        for member in each.group.members:
            try:
                rows[member.stage] = member.stage.metrics()
            except ValueError as error:
                rows[member.stage] = []
                errors.append(f"{error}.")
    return rows, errors


def _filled(**values: Any) -> str:
    """Return the template with these values."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_clean,
    )
    environment.tests["numeric"] = lambda value: is_numeric(str(value))
    template = environment.get_template("page.html")
    return template.render(
        style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
        mark=Markup(MARK),
        **values,
    )


def _clean(value: Any) -> Any:
    """Return a text without characters that HTML forbids or that change its direction."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else shown(value)
