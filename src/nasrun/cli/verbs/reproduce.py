"""`nasrun reproduce [CLAIM]`: lists the claims of papers, or runs the protocol of one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nasrun.cli import screen
from nasrun.cli.verb import Verb
from nasrun.cli.words import sorted_out, whole
from nasrun.config.keys import ROOT, TABLE
from nasrun.config.words import packages, suggestion

if TYPE_CHECKING:
    from rich.console import Console

    from nasrun.claims.claim import Claim
    from nasrun.claims.results import ResultFile
    from nasrun.claims.runner import ArmRun, Done
    from nasrun.claims.tables import Evidence
    from nasrun.data.table import Table

KEYS = {
    "seeds": "N",
    "arms": "NAME,NAME",
    "jobs": "N",
    ROOT: "FOLDER",
    TABLE: "FILE.csv",
    "task.distance.weights": "FILE",
    "results": "FILE.jsonl",
    "outputs": "DIR",
    "freeze": "true",
    "page": "FILE.md",
    "trust": "[PACKAGE]",
    "hydra.searchpath": "[file://DIR]",
}
FOLDER = "outputs/claims"


def reproduce(words: Sequence[str]) -> int:
    """List all claims, run one, freeze one, or write the tables of a page."""
    keys, names = sorted_out(_without_dashes(words), KEYS)
    trusted = packages(keys.get("trust", ""))
    if len(names) > 1:
        raise ValueError(f"reproduce {' '.join(names)}: name one claim at a time")
    if not names:
        return _all(keys)
    from nasrun.claims import reading
    from nasrun.config import import_trusted

    import_trusted(trusted)
    path = reading.file_of(names[0])
    if "freeze" in keys:
        if keys["freeze"] != "true" or len(keys.keys() - {"trust"}) > 1:
            raise ValueError(f"freeze={keys['freeze']}: type freeze=true alone, or leave it out")
        print(f"{path}: frozen as {reading.freeze(path, trusted)}")
        return 0
    if "page" in keys:
        raise ValueError(f"page={keys['page']}: a page has all claims; leave {names[0]} out")
    claim = reading.read(path, trusted)
    reading.refuse_changed(path, claim)
    return _one(path.stem, claim, keys)


def _without_dashes(words: Sequence[str]) -> list[str]:
    """Return the words with `--seeds 1` and `--seeds=1` as `seeds=1`."""
    found: list[str] = []
    key = ""
    for word in words:
        if key:
            found.append(f"{key}={word}")
            key = ""
        elif word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            if name not in KEYS:
                raise ValueError(f"{word}: unknown flag{suggestion(name, KEYS)}")
            key = "" if equals else name
            found += [f"{name}={value}"] if equals else []
        elif word.startswith("-"):
            raise ValueError(f"{word}: unknown flag; type key=value or --key value")
        else:
            found.append(word)
    if key:
        raise ValueError(f"--{key}: needs a value; type --{key} {KEYS[key]}")
    return found


def _all(keys: Mapping[str, str]) -> int:
    """Print the list of claims, or write the tables of a page."""
    from nasrun.claims import reading, tables
    from nasrun.claims.results import ResultFile, shipped
    from nasrun.display import table

    if idle := [key for key in keys if key not in ("results", "page")]:
        raise ValueError(f"{idle[0]}={keys[idle[0]]}: has no effect without a claim; name one")
    path = Path(keys["results"]) if "results" in keys else shipped()
    if "results" in keys and not path.is_file():
        raise ValueError(f"results={path}: there is no such file; name one, or leave it out")
    results = ResultFile(path)
    found = {}
    for name in reading.names():
        claim = reading.read(reading.file_of(name))
        found[name] = tables.Evidence(name, claim, results.of(name, claim.frozen))
    if "page" in keys:
        from nasrun.files import write_text

        page = Path(keys["page"])
        if not page.is_file():
            raise ValueError(f"page={page}: there is no such file; name a page with markers")
        write_text(page, tables.page(page.read_text("utf-8"), found))
        print(f"{page}: its tables are those of {results.path}")
        return 0
    table(screen.console(), "", *tables.listed([*found.values()]))
    print(f"results: {results.path}")
    return 0


def _one(name: str, claim: Claim, keys: Mapping[str, str]) -> int:
    """Run what is missing of a claim, read the table, and print what is known."""
    from nasrun.claims import runner
    from nasrun.claims.results import ResultFile, refuse_unwritable
    from nasrun.cli.performing import OWN, check, perform
    from nasrun.display import say
    from nasrun.machine import cores

    seeds, jobs = whole(keys, "seeds", claim.seeds, least=1), whole(keys, "jobs", 0, least=0)
    if seeds > claim.seeds:
        raise ValueError(f"seeds={seeds}: the protocol has {claim.seeds}; use at most that")
    if claim.alone and jobs > 1:
        raise ValueError(f"jobs={jobs}: an arm of {name} runs alone; use 1, or leave it out")
    _refuse_data(name, claim, keys)
    table = _table(claim, keys)
    root = Path(keys.get("outputs", FOLDER))
    path = Path(keys.get("results", root / "results.jsonl"))
    refuse_unwritable(path)
    results = ResultFile(path)
    console = screen.console()
    arms = _arms(claim, keys)

    def stopped() -> bool:
        return _evidence(name, claim, results).stopped

    own = [f"{key}={keys[key]}" for key in OWN if key in keys]
    trials = []
    if not stopped():
        trials = runner.missing(name, claim, arms, seeds, results, root, keys, own)
    for commands in {trial.arm: trial.commands for trial in trials}.values():
        check(commands)
    _announce(console, name, claim, trials, seeds)
    abreast = 1 if claim.alone else min(jobs or cores(), len(runner.lanes(trials)) or 1)
    tell = _told(console)
    failed = runner.run(claim, trials, results, perform, abreast, tell, stopped) if trials else []
    if trials and stopped():
        say(console, "no comparison can hold any more: all runs are stopped, and none is started")
    if not failed and table is not None:
        results.look_up(name, claim, table)
    _print(console, name, claim, results)
    if not failed and table is None and claim.looked_up:
        say(console, f"true accuracies are read from a table: add {TABLE}=FILE.csv to the command")
    return screen.status(done.spent for done in failed)


def _arms(claim: Claim, keys: Mapping[str, str]) -> list[str]:
    """Return the arms that were typed, all of them by default."""
    chosen = packages(keys["arms"]) if "arms" in keys else list(claim.arms)
    for arm in chosen:
        if arm not in claim.arms:
            raise ValueError(f"arms={arm}: no such arm{suggestion(arm, claim.arms)}")
    return chosen


def _refuse_data(name: str, claim: Claim, keys: Mapping[str, str]) -> None:
    """Raise ValueError for missing data, and for data that the claim does not read."""
    from nasrun.claims.claim import DATA

    for key in claim.needs:
        if key not in keys:
            raise ValueError(f"{key}: {name} needs it; add {key}={KEYS[key]} to the command")
    for key in DATA:
        if key in keys and key not in claim.needs and (key != TABLE or not claim.looked_up):
            raise ValueError(f"{key}={keys[key]}: has no effect on {name}; leave it out")


def _table(claim: Claim, keys: Mapping[str, str]) -> Table | None:
    """Return the table that was typed, if true results are looked up in it at the end."""
    if TABLE not in keys:
        return None
    from nasrun.data.table import Table, header, true_columns
    from nasrun.keyed import keyed

    path = Path(keys[TABLE])
    with keyed("space"):
        known = true_columns(header(path))
        for data in claim.needed:
            if data not in known:
                raise ValueError(f"table={path}: has no true accuracies of {data}; name another")
        return Table.read(path) if claim.looked_up else None


def _announce(
    console: Console, name: str, claim: Claim, trials: Sequence[ArmRun], seeds: int
) -> None:
    """Say what is claimed, what is run, and what it costs."""
    from nasrun.display import say

    say(console, f"{name}: {claim.told}")
    cost = sum(claim.minutes.get(trial.arm, 0.0) for trial in trials)
    about = f", about {cost:,.0f} core-minutes" if cost >= 1 else ""
    runs = "1 run is" if len(trials) == 1 else f"{len(trials)} runs are"
    todo = f"{runs} missing{about}" if trials else "nothing is left to run"
    say(console, f"protocol {claim.frozen}, {seeds} of {claim.seeds} seeds: {todo}")


def _told(console: Console) -> Callable[[Done], None]:
    """Return the function that prints the end of a run, or why it failed."""
    from nasrun.display import say

    def tell(done: Done) -> None:
        what = f"{done.trial.arm}, seed {done.trial.seed}"
        if done.line is None:
            print(f"nasrun: {what}: {done.error}", file=sys.stderr, flush=True)
        else:
            minutes = (done.line.core_seconds or 0.0) / 60
            say(console, f"{what}: {minutes:.1f} core-minutes")

    return tell


def _evidence(name: str, claim: Claim, results: ResultFile) -> Evidence:
    """Return what is known of a claim."""
    from nasrun.claims.tables import Evidence

    return Evidence(name, claim, results.of(name, claim.frozen))


def _print(console: Console, name: str, claim: Claim, results: ResultFile) -> None:
    """Print the tables of a claim, and its state."""
    from nasrun.display import say, table

    evidence = _evidence(name, claim, results)
    table(console, name, *evidence.arms())
    if evidence.tests:
        table(console, "", *evidence.differences())
    for key in evidence.unread:
        say(console, f"measures.{key}: no run has it so far; check its stage and key")
    say(console, f"{evidence.known} ({results.path})")


def offered(before: Sequence[str]) -> Iterable[str]:
    """Offer the claims as the first word."""
    from nasrun.claims.reading import names

    return () if before else names()


VERBS = (
    Verb(
        name="reproduce",
        text="list the claims of papers and what was measured, or measure one (reproduce CLAIM)",
        examples=(
            "nasrun reproduce",
            "nasrun reproduce snas_gap seeds=1 dataset.root=CIFAR space.table=FILE.csv",
            "nasrun reproduce bayesian_nb201 space.table=FILE.csv jobs=2",
            "nasrun reproduce mine.yaml freeze=true",
        ),
        run=reproduce,
        keeps="rounds",
        note="A protocol is run seed by seed; the same command continues, and repeats nothing. "
        "Tables with true accuracies are read when all of its runs are finished. --seeds 1 is "
        "seeds=1.",
        keys=KEYS,
        about={
            "seeds": "number of the protocol's seeds to run; all of them if it is left out",
            "arms": "run only these arms; all of them if it is left out",
            "jobs": "number of arms that run side by side; one per core if it is left out",
            ROOT: "the data, for claims that need them",
            TABLE: "the benchmark's table, for true accuracies",
            "task.distance.weights": "the weights of the network that judges images",
            "results": "the file of results; outputs/claims/results.jsonl for one claim, nasrun's "
            "own for the list and page= if it is left out",
            "outputs": "the folder of all runs; outputs/claims if it is left out",
            "freeze": "write the fingerprint of the protocol into the claim's file",
            "page": "write the tables of all claims between the markers of a page",
            "trust": "packages of your own that the claim's file or its commands name",
            "hydra.searchpath": "folders with options of your own for its commands",
        },
        offers=offered,
    ),
)
