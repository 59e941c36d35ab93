"""Where runs come from: the commands that made them, versions, hardware and cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nasrun.display import duration
from nasrun.files import read_lines
from nasrun.pages.account import Configuration
from nasrun.pages.entrants import Entrant
from nasrun.runs.log import COMMANDS
from nasrun.runs.run import Run


@dataclass(frozen=True)
class Typed:
    """A command that changed a run."""

    when: str
    words: str


@dataclass(frozen=True)
class Origin:
    """A run: where it lies, what made it, and what it took."""

    name: str
    letter: str
    seed: str
    fingerprint: str
    time: str
    memory: str
    commands: tuple[Typed, ...]


def origins(
    every: Iterable[Configuration], kept: Sequence[Entrant], names: Mapping[str, str]
) -> Iterator[Origin]:
    """Yield the origin of each run."""
    for configuration in every:
        for run in configuration.runs:
            members = [m for each in kept for m in each.group.members if m.run.path == run.path]
            seconds = sum((member.result or {}).get("seconds", 0.0) for member in members)
            memory = max((_memory(member.stage.timing) for member in members), default=0.0)
            yield Origin(
                name=names[str(run.path)],
                letter=configuration.letter,
                seed=str(run.record.get("seed")),
                fingerprint=run.record["fingerprint"],
                time=duration(seconds) if seconds else "",
                memory=f"{memory:.2f} GiB" if memory else "",
                commands=tuple(_commands(run)),
            )


def _memory(timing: Any) -> float:
    try:
        rows = timing()
    except ValueError:  # damaged, as the account of what is missing says
        return 0.0
    found = (row.get("memory_gib") for row in rows)
    return max((value for value in found if type(value) in (int, float)), default=0.0)


def _commands(run: Run) -> Iterator[Typed]:
    try:
        records = read_lines(run.path / COMMANDS)
    except ValueError as error:
        yield Typed("", f"# {error}")
        return
    for record in records:
        processes = record.get("processes")
        several = f"  # in {processes} processes" if processes not in (None, 1) else ""
        yield Typed(str(record.get("when", "")), f"{record.get('command', '')}{several}")


def environments(
    every: Iterable[Configuration], names: Mapping[str, str]
) -> list[tuple[tuple[str, ...], dict[str, str]]]:
    """Return the versions and the hardware of runs, equal ones once, with the runs' names."""
    found: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for configuration in every:
        for run in configuration.runs:
            facts = tuple(_environment(run).items())
            found.setdefault(facts, []).append(names[str(run.path)])
    return [(tuple(runs), dict(facts)) for facts, runs in found.items()]


def _environment(run: Run) -> dict[str, str]:
    record, budget = run.record, run.config["budget"]
    versions = record.get("versions") or {}
    facts = {
        "nasrun": versions.get("nasrun"),
        "commit": record.get("git"),
        "Python": record.get("python"),
        **{name: version for name, version in versions.items() if name != "nasrun"},
        "machine": record.get("machine"),
        "device": budget.get("device"),
        "precision": budget.get("precision"),
        "threads": budget.get("threads"),
    }
    return {name: str(value) for name, value in facts.items() if value is not None}
