"""Results of earlier plans, so that the same plan is answered at once.

The name of a note depends on everything that its numbers depend on: the configuration, the data,
the machine, and the versions of what ran. Notes are in the cache folder.
"""

from __future__ import annotations

import platform
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from nasrun.data.base import Dataset
from nasrun.data.images import cache_folder
from nasrun.files import read_json, write_json
from nasrun.genotype import Genotype, fingerprint
from nasrun.machine import cores
from nasrun.pipeline.forecast import Forecast, Outlook
from nasrun.pipeline.plan import Plan
from nasrun.runs.environment import environment

FORMAT = 1
"""Version of the notes' format."""


def note_of(plan: Plan, genotype: Genotype | None) -> Path:
    """Return the path of a plan's note, which may not exist."""
    ran = environment()
    engine, threads = plan.engine, plan.budget.resolved["threads"]
    trained = genotype
    if trained is None and any(kind.trains for kind in plan.kinds):
        trained = plan.rival
    depends_on = [
        FORMAT,
        [kind.name for kind in plan.kinds],
        [plan.settings, plan.budget.memory, plan.counted, plan.baseline, plan.discretisation],
        None if trained is None else trained.to_json(),
        [_facts(dataset) for dataset in (plan.dataset, plan.transfer_dataset)],
        None if engine is None else [engine.elsewhere, engine.side_by_side(threads)],
        [ran[key] for key in ("versions", "python", "git")],
        [platform.node(), ran["machine"], cores()],
    ]
    return cache_folder() / "plans" / f"{fingerprint(depends_on)}.json"


def read(note: Path) -> Outlook | None:
    """Return the outlook of a note, or `None` if it is missing or damaged."""
    with suppress(ValueError, TypeError):
        kept = read_json(note, "facts", "stages")
        stages = [Forecast(**each) for each in kept["stages"]]
        return Outlook(dict(kept["facts"]), stages, str(note))
    return None


def write(note: Path, outlook: Outlook) -> None:
    """Write an outlook, unless the run is refused or the folder is not writable."""
    if outlook.refusals:
        return
    with suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        stages = [asdict(forecast) for forecast in outlook.stages]
        write_json(note, {"facts": dict(outlook.facts), "stages": stages})


def _facts(dataset: object) -> object:
    """Return the facts about a data set that the time depends on, and the digest of its files."""
    if not isinstance(dataset, Dataset):
        return None
    files = dataset.contents()
    return [asdict(dataset.facts()), dataset.count_test(), files and files.digest]
