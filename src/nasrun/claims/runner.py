"""Runs the protocol of a claim seed by seed, and keeps what each arm found.

Equal commands have the same run, so a search that two arms share is done once; arms that begin with
the same command run one after the other. A finished arm is not repeated, and a killed one continues
in its stage. Tables are read when all of it is done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import process_time
from typing import Any

from nasrun.budget import BudgetSpent
from nasrun.claims.claim import Claim
from nasrun.claims.finished import Finished
from nasrun.claims.measures import Gauge
from nasrun.claims.results import ResultFile, ResultLine, evaluated
from nasrun.config.keys import ROOT, TABLE
from nasrun.config.words import key_of, packages, quoted
from nasrun.engines.base import Engine
from nasrun.engines.local import Pool, Serial
from nasrun.machine import cores, hardware

Perform = Callable[[Sequence[str], Path], list[Path]]
"""Runs a command below a folder and returns those that it made; ValueError, in one line, if it
fails, and BudgetSpent if its hours are spent."""
RUNS = "runs"
"""The folder of all runs, below that of the claims."""
TRAININGS = ("retrain", "transfer")
"""Verbs that train what an arm has selected."""
SELECTORS = ("selector", "method")
"""Keys that name a selector."""
DEVICE = "budget.device"
"""The key of the device of a command."""
COMPUTING = ("ranks", "convergence")
"""Parts of `analyze` that can begin an arm and compute on a device."""
DATA_OF = {
    "select": (ROOT, TABLE),
    **dict.fromkeys((*TRAININGS, "analyze search"), (ROOT,)),
    "analyze ranks": (ROOT, TABLE),
}
"""Keys of data that a later command takes, by its verb or its part of `analyze`."""


@dataclass(frozen=True)
class ArmRun:
    """An arm of a claim with a seed: its commands, of which only the first names the seed.

    folder: where its runs lie. data: the places of its data, by key.
    """

    claim: str
    protocol: str
    arm: str
    seed: int
    commands: tuple[tuple[str, ...], ...]
    measures: Mapping[str, Gauge]
    folder: Path
    data: Mapping[str, str] = field(default_factory=dict)

    @property
    def trusted(self) -> list[str]:
        """The packages outside nasrun that its commands name."""
        trusts = [word for words in self.commands for word in words if word.startswith("trust=")]
        return [name for word in trusts for name in packages(word.removeprefix("trust="))]


@dataclass(frozen=True)
class Done:
    """The end of a trial: its line, or why it failed; `spent` if only its hours are spent."""

    trial: ArmRun
    line: ResultLine | None
    error: str = ""
    spent: bool = False


@dataclass(frozen=True)
class Lane:
    """The engine's job: trials that begin with the same command, one after the other."""

    perform: Perform

    def __call__(self, trials: Sequence[ArmRun]) -> list[Done]:
        return [self._done(trial) for trial in trials]

    def _done(self, trial: ArmRun) -> Done:
        folders: list[Path] = []
        before = process_time()
        try:
            for place, words in enumerate(trial.commands):
                source = [*_given(trial.data, words), _run_of(folders, words)] if place else []
                folders += self.perform([*words, *source], trial.folder)
            finished = Finished(folders, trial.trusted, trial.data.get(ROOT))
            return Done(trial, measured(trial, finished, process_time() - before))
        except (ValueError, BudgetSpent) as error:
            return Done(trial, None, str(error), isinstance(error, BudgetSpent))


def _given(data: Mapping[str, str], words: Sequence[str]) -> list[str]:
    """Return the words that tell a later command where the data are, as far as it takes them.

    The run records their place, from which they may have been moved since.
    """
    analyses = words[0] == "analyze"
    taken = DATA_OF.get(" ".join(words[: 1 + analyses]), ())
    typed = [*map(key_of, words)]
    idle = [*typed, *([TABLE] if "against" in typed else [])]
    return [
        f"{key}={data[key] if analyses else quoted(data[key])}"
        for key in taken
        if key in data and key not in idle
    ]


def _run_of(folders: Sequence[Path], words: Sequence[str]) -> str:
    """Return the word that names what a later command continues; analyses read it as it is.

    It is the run of the earlier commands. A training is told their selection instead, the last one
    by the selector that it names, since arms that share a search have several in the run, and the
    newest one may be another arm's.
    """
    finished, verb = Finished(folders), words[0]
    named = [word.partition("=")[2] for word in words if key_of(word) in SELECTORS]
    selected = finished.stage("select", *named[-1:]) if verb in TRAININGS else None
    path = str(finished.run.path if selected is None else selected.path)
    return f"run={path if verb == 'analyze' else quoted(path)}"


def measured(trial: ArmRun, finished: Finished, spent: float) -> ResultLine:
    """Return what a finished arm has found; `spent` are the seconds of one that has no stages."""
    record, stages = finished.record, finished.stages()
    facts = {}
    for key, measure in trial.measures.items():
        try:
            facts[key] = measure.fact(finished)
        except ValueError as error:
            raise ValueError(f"measures.{key}: {error}") from error
    chosen = [stage.result["genotype"] for stage in stages if "genotype" in stage.result]
    seconds = [
        stage.result["seconds"] * stage.settings["budget"].get("threads", 1) for stage in stages
    ]
    return ResultLine(
        trial.claim,
        trial.protocol,
        trial.arm,
        trial.seed,
        facts={key: fact for key, fact in facts.items() if fact is not None},
        genotype=chosen[-1] if chosen else None,
        core_seconds=round(sum(seconds) if seconds else spent, 1),
        commit=record.get("git"),
        fingerprint=record["fingerprint"],
        versions={**record["versions"], "python": record["python"]},
        machine=f"{cores()} cores, {hardware()}",
        created=record["created"],
    )


def missing(
    name: str,
    claim: Claim,
    arms: Sequence[str],
    seeds: int,
    results: ResultFile,
    root: Path,
    data: Mapping[str, str],
    own: Sequence[str],
) -> list[ArmRun]:
    """Return the trials of these arms without a result, seed by seed.

    own: words for every command, which admit a user's packages and options.
    """
    given = {key: data[key] for key in claim.needs}
    trials = []
    for place in range(seeds):
        for arm in arms:
            seed = claim.seed(arm, place)
            if results.has(name, claim.frozen, arm, seed):
                continue
            first, *later = claim.commands(arm)
            first += [f"seed={seed}", *(f"{key}={quoted(text)}" for key, text in given.items())]
            first += _on_the_cpu(first, first=True)
            later = [[*words, *_on_the_cpu(words)] for words in later]
            commands = ((*first, *own), *((*words, *_taken(own, words)) for words in later))
            trials.append(
                ArmRun(
                    name,
                    str(claim.frozen),
                    arm,
                    seed,
                    commands,
                    dict(claim.measures),
                    root / RUNS,
                    given,
                )
            )
    return trials


def _on_the_cpu(words: Sequence[str], *, first: bool = False) -> list[str]:
    """Return the word that keeps a command on the CPU if its protocol names no device.

    Else a GPU would be taken where there is one, with its arithmetic, and results would mix. A
    later analysis has the device of its run.
    """
    computes = words[0] != "analyze" or (first and words[1] in COMPUTING)
    return [f"{DEVICE}=cpu"] if computes and DEVICE not in map(key_of, words) else []


def _taken(own: Sequence[str], words: Sequence[str]) -> list[str]:
    """Return a user's own words, as far as a later command takes them; an analysis has a run."""
    return [word for word in own if words[0] != "analyze" or key_of(word) == "trust"]


def lanes(trials: Sequence[ArmRun]) -> list[list[ArmRun]]:
    """Return the trials by their first command."""
    found: dict[tuple[str, ...], list[ArmRun]] = {}
    for trial in trials:
        found.setdefault(trial.commands[0], []).append(trial)
    return list(found.values())


def run(
    claim: Claim,
    trials: Sequence[ArmRun],
    results: ResultFile,
    perform: Perform,
    jobs: int,
    tell: Callable[[Done], None],
    stopped: Callable[[], bool],
) -> list[Done]:
    """Run the trials on an engine, keep what each found, and return those that have failed.

    It ends early if the claim is `stopped` by what was found. Raises ValueError if a process dies.
    """
    engine: Engine = Serial() if jobs == 1 else Pool(processes=jobs, retries=0)
    waiting, failed = lanes(trials), list[Done]()
    try:
        for _, ended in engine.run(Lane(perform), waiting, jobs):
            for done in ended:
                if done.line is None:
                    failed.append(done)
                else:
                    results.add(_with_values(claim, done.line))
                tell(done)
            if stopped():
                break
    except ChildProcessError as error:
        raise ValueError(
            f"jobs={jobs}: the process of an arm died, probably because memory ran out; use fewer "
            "jobs (jobs=1 needs the least memory)"
        ) from error
    finally:
        engine.close()
    return failed


def _with_values(claim: Claim, line: ResultLine) -> ResultLine:
    """Return the line with the values that need no table, which are then no facts to be kept."""
    values = evaluated(claim, line.facts, None)
    facts: dict[str, Any] = {key: fact for key, fact in line.facts.items() if key not in values}
    return replace(line, values=values, facts=facts)
