#!/usr/bin/env python3
"""Damages the files of runs, one at a time, and counts what commands do then.

    scripts/check_damage.py run         what is missing: every file, every damage, every command
    scripts/check_damage.py flips       the same of a thousand single flipped bits
    scripts/check_damage.py tables      what is done so far, as Markdown

A few tiny runs are made once below --work: finished, stopped in the search, stopped in the
retraining, and a population, half of it done. A trial takes a copy of one, damages one file of it,
and runs one command in this process. It ends well if all is as in an undamaged copy (`equal`), or
is so and a line says what was damaged (`told`), if one line names the file (`named`), or if a
reader takes the stage for one that is not done (`less`). All else is a fault. Pictures are no
results: they are not compared. A trial that is done is a line of WORK/damage.jsonl and is not
repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from trials import FAILED, REFUSED, WARNING, Answer, Journal, answered, loaded, print_counts

SMALL = "rounds=3 width=2 depth=3 batch_size=16 images=64 space.nodes=1 space.kept_edges=1"
RECIPE = "epochs=2 channels=2 layers=3 auxiliary=false"
HERE = "budget.threads=1 budget.device=cpu progress=false"
GAN = (
    "strategy=pbtnas rounds=2 width=2 images=64 batch_size=8 task.steps=2 task.generator_batch=8 "
    "task.distance.samples=40 task.distance.report_samples=40 task.distance.epochs=1 "
    "strategy.size=4 strategy.children=1 strategy.parents=2 engine=serial stages=[search,select]"
)
RETRAIN = " ".join(f"retrain.{word}" for word in RECIPE.split())
TRANSFER = " ".join(f"transfer.{word}" for word in RECIPE.split())
FOLDER = "dataset=image_folder dataset.root=../images"
OUTCOMES = ("equal", "told", "named", "less")
IDLE = ("run.json", "commands.jsonl")
"""Files at the top of a run that depend on when it was used."""
TRIAL = f"trial-{os.getpid()}"
"""The folder of the copy; several processes may share the work, each with its own cases."""
NUMBERS = (".pt", ".safetensors", ".json", ".jsonl", ".yaml", ".gz")
"""Suffixes of files that hold numbers; the others are pictures."""


@dataclass(frozen=True)
class Case:
    """A run: its command, and the rounds after which it is stopped; `None`: it is finished."""

    name: str
    words: str
    stopped: int | None = None
    select: str = "method=argmax discretisation=false"

    @property
    def command(self) -> list[str]:
        """The words that make the run and continue it."""
        return ["run", *self.words.split(), *HERE.split()]


Damage = Callable[[Path, random.Random], None]
Command = Callable[[Case, Path], Answer]
Trial = tuple[str, Callable[[], dict[str, Any]]]
"""The name of a trial, and the function that does it."""

CASES = (
    Case("finished", f"{SMALL} {RETRAIN} {TRANSFER}"),
    Case("searching", f"{SMALL} stages=[search,select]", stopped=2),
    Case("retraining", f"{SMALL} {RETRAIN} {FOLDER} stages=[search,select,retrain]", stopped=3),
    Case("population", GAN, select="method=soup"),
    Case("breeding", GAN, stopped=1, select="method=soup"),
)


def main() -> None:
    """Run the missing trials, or print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["run", "flips", "tables"])
    parser.add_argument("--work", type=Path, default=Path("outputs/damage"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bits", type=int, default=1000)
    parser.add_argument("--case", nargs="*", default=[case.name for case in CASES])
    words = parser.parse_args()
    work = words.work.absolute()
    journal = Journal(work / "damage.jsonl")
    if words.what != "tables":
        prepare(work)
    if words.what == "run":
        journal.run(damages(work, words.seed, words.case))
    if words.what == "flips":
        journal.run(flips(work, words.seed, words.bits, words.case))
    tables(journal.rows())


def prepare(work: Path, cases: tuple[Case, ...] = CASES) -> None:
    """Make the missing undamaged runs, and images to classify."""
    os.environ["NASRUN_CACHE"] = str(work / "cache")
    (work / TRIAL).mkdir(parents=True, exist_ok=True)
    make_images(work / "images")
    for case in cases:
        made = work / case.name
        if not made.exists():
            shutil.rmtree(work / TRIAL)
            (work / TRIAL).mkdir()
            os.chdir(work / TRIAL)
            with stopped_after(case.stopped):
                answer = answered(case.command, seconds=600)
            assert answer.status == (0 if case.stopped is None else 75), answer
            shutil.copytree(work / TRIAL, made)


def make_images(folder: Path) -> None:
    """Make two distinguishable classes of 24 grey images each."""
    import numpy as np
    from PIL import Image

    drawn = np.random.default_rng(0)
    for label, name in enumerate(("dark", "light")):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(24):
            pixels = drawn.integers(120 * label, 120 * label + 130, (8, 8), dtype="uint8")
            if not (path := folder / name / f"{index:02d}.png").exists():
                Image.fromarray(pixels).save(path)


class stopped_after:
    """Make a command's hours spent after `rounds` rounds, in the context; `None` for never."""

    def __init__(self, rounds: int | None) -> None:
        self.left = rounds

    def __enter__(self) -> None:
        from nasrun.budget import Budget, BudgetSpent

        self.before = Budget.check

        def check(budget: Budget) -> None:
            if self.left is not None:
                self.left -= 1
                if self.left <= 0:
                    raise BudgetSpent("stopped on purpose")

        Budget.check = check  # type: ignore[method-assign]

    def __exit__(self, *_: object) -> None:
        from nasrun.budget import Budget

        Budget.check = self.before  # type: ignore[method-assign]


def half(path: Path, drawn: random.Random) -> None:
    """Keep only the first half."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def empty(path: Path, drawn: random.Random) -> None:
    """Keep nothing."""
    path.write_bytes(b"")


def byte(path: Path, drawn: random.Random) -> None:
    """Change one byte."""
    content = bytearray(path.read_bytes())
    content[drawn.randrange(len(content))] ^= drawn.randrange(1, 256)
    path.write_bytes(content)


def delete(path: Path, drawn: random.Random) -> None:
    """Delete the file."""
    path.unlink()


def folder(path: Path, drawn: random.Random) -> None:
    """Replace the file by a folder."""
    path.unlink()
    path.mkdir()


def bit(path: Path, drawn: random.Random) -> None:
    """Flip one bit."""
    content = bytearray(path.read_bytes())
    content[drawn.randrange(len(content))] ^= 1 << drawn.randrange(8)
    path.write_bytes(content)


DAMAGES = (half, empty, byte, delete, folder)


def repeat(case: Case, run: Path) -> Answer:
    """Repeat the command that made the run."""
    return answered(case.command)


def select(case: Case, run: Path) -> Answer:
    """Select again from its search."""
    return answered(["select", f"run={run}", *case.select.split(), *HERE.split()])


def list_runs(case: Case, run: Path) -> Answer:
    """List all runs, with a record of each stage."""
    return answered(["list", "runs", "format=json"])


def table_of_runs(case: Case, run: Path) -> Answer:
    """List all runs as a table."""
    return answered(["list", "runs"])


def show(case: Case, run: Path) -> Answer:
    """Show the run."""
    answer = answered(["show", str(run), "format=json"])
    record = json.loads(answer.out or "{}")
    for idle in ("bytes", "files", "pictures"):  # they may well differ
        record.pop(idle, None)
    return Answer(answer.status, json.dumps(record), answer.err)


def load(case: Case, run: Path) -> Answer:
    """Load the trained network, and run it on a random image."""
    return loaded(run)


def predict(case: Case, run: Path) -> Answer:
    """Classify an image."""
    return answered(["predict", str(run), "../images/dark/00.png", "format=csv", "top=2"])


COMMANDS = (repeat, select, list_runs, table_of_runs, show, load, predict)
READERS = (list_runs, table_of_runs, show)
QUICK = (list_runs, show, load)


def commands_of(case: Case, file: str) -> Sequence[Command]:
    """Return the commands that may read a file; for similar cases, only those that differ."""
    if not file.endswith(NUMBERS):
        return (repeat, show)
    if case is CASES[0]:
        return COMMANDS
    return (repeat, select, list_runs, show) if case.stopped is None else (repeat, list_runs, show)


def damages(work: Path, seed: int, wanted: Sequence[str]) -> Iterator[Trial]:
    """Return every file with every damage under every command."""
    for case in (case for case in CASES if case.name in wanted):
        for file in files(work / case.name):
            for damage in DAMAGES:
                for command in commands_of(case, file):
                    yield trial(work, case, file, damage, command, seed)


def flips(work: Path, seed: int, count: int, wanted: Sequence[str]) -> Iterator[Trial]:
    """Return `count` single bits of files that hold numbers, files drawn evenly.

    Each is seen by the command that reads the file.
    """
    drawn = random.Random(seed)
    places = [(c, f) for c in CASES for f in files(work / c.name) if f.endswith(NUMBERS)]
    for number in range(count):
        case, file = drawn.choice(places)
        goes_on = repeat if case.stopped is not None else select
        reads = {".pt": goes_on, ".safetensors": load}
        if case.name in wanted:
            yield trial(work, case, file, bit, reads.get(Path(file).suffix, show), number)


def files(made: Path) -> list[str]:
    """Return the files of a run, below its family's folder."""
    home = made / "outputs"
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())


def trial(
    work: Path,
    case: Case,
    file: str,
    damage: Damage,
    command: Command | tuple[Command, ...],
    seed: int,
) -> Trial:
    """Return the name of a trial and its function."""
    commands = command if isinstance(command, tuple) else (command,)
    of = "+".join(each.__name__ for each in commands)
    name = f"{case.name} {file} {damage.__name__} {of} {seed}"
    facts = {"case": case.name, "file": kind_of(file), "damage": damage.__name__, "command": of}
    return name, lambda: {**facts, "outcome": outcome(work, case, file, damage, commands, name)}


def kind_of(file: str) -> str:
    """Return a file's name without its numbers; all pictures are one kind, and all members."""
    path = Path(file)
    if not file.endswith(NUMBERS):
        return "pictures"
    return "members/*.pt" if "members" in path.parts else path.name


def outcome(
    work: Path,
    case: Case,
    file: str,
    damage: Damage,
    commands: tuple[Command, ...],
    name: str,
) -> str:
    """Return the worst outcome of the commands, each on its own damaged copy."""
    found = []
    for command in commands:
        expected = reference(work, case, command)
        run = copied(work, case)
        damage(Path("outputs") / file, random.Random(name))
        found.append(judged(command(case, run), expected, command, file))
    order = (*OUTCOMES, FAILED)
    return max(found, key=lambda text: order.index(text.partition(":")[0]))


def copied(work: Path, case: Case) -> Path:
    """Make a copy of a case, enter it, and return the run's path from there."""
    place = work / TRIAL
    os.chdir(work)
    shutil.rmtree(place)
    shutil.copytree(work / case.name, place)
    os.chdir(place)
    return next(Path("outputs").glob("*/v001"))


@dataclass(frozen=True)
class Expected:
    """The answer of a command in an undamaged copy, and the results afterwards."""

    answer: Answer
    results: Mapping[str, str]


@cache
def reference(work: Path, case: Case, command: Command) -> Expected:
    """Return the outcome of a command on an undamaged copy."""
    run = copied(work, case)
    return Expected(command(case, run), results())


def results() -> dict[str, str]:
    """Return the results in the newest version by name, without seconds, which differ."""
    run = max(Path("outputs").glob("*/v*"))
    found = {}
    for path in sorted(path for path in run.rglob("*") if path.is_file()):
        name = str(path.relative_to(run))
        if path.suffix in (".json", ".jsonl") and not path.name.startswith(("state", "timing")):
            found[name] = timeless(path.read_text(errors="replace"))
        elif path.suffix == ".safetensors":
            found[name] = path.read_bytes().hex()
    return {name: text for name, text in found.items() if name not in IDLE}


def timeless(text: str) -> str:
    """Return a text without seconds."""
    text = re.sub(
        r'"(seconds|finished_ns|created|check|timing\.jsonl)": ?("[^"]*"|[\d.e-]+)', "", text
    )
    return re.sub(r"\d+(\.\d+)? (s|min|h)\b|left \S+|mem \S+", "", text)


def judged(
    answer: Answer,
    expected: Expected,
    command: Command,
    file: str,
) -> str:
    """Return how a trial ended."""
    if answer.fault is not None:
        return answer.fault
    told = [line for line in (answer.out + answer.err).splitlines() if names(line, file)]
    if answer.status == REFUSED and expected.answer.status != REFUSED:
        return "named" if told else f"{FAILED}: names another thing: {answer.errors[0]}"
    if answer.status != expected.answer.status:
        return f"{FAILED}: status {answer.status}"
    if command in READERS and any("damaged: " in x for x in told):
        return "named"
    now = results()
    if wrong := differences(now, expected.results, file):
        return f"{FAILED}: other results: {wrong}"
    said = "told" if any(line.startswith(WARNING) for line in told) else "equal"
    if command in (repeat, select) and answer.status == 0:
        return said if now.get("report.json") == expected.results.get("report.json") else "less"
    if answer.status == REFUSED:
        return "named" if told or answer.err == expected.answer.err else "less"
    if answer.out == expected.answer.out:
        return said
    return "less" if says_less(answer.out, expected.answer.out) else f"{FAILED}: other numbers"


def names(line: str, file: str) -> bool:
    """Return whether a line names a file, or a folder around it."""
    path = Path("outputs") / file
    return any(str(each) in line for each in (path, *path.parents[:-3]))


def differences(ours: Mapping[str, str], theirs: Mapping[str, str], file: str) -> list[str]:
    """Return the results that differ; the damaged file may still be as it was damaged.

    A report leaves out unfinished stages.
    """
    own = "/".join(Path(file).parts[2:])
    found = {name: ours.get(name, "") for name in theirs if name != own}
    return [
        name
        for name, text in found.items()
        if text != theirs[name] and not (name == "report.json" and says_less(text, theirs[name]))
    ]


def says_less(ours: str, theirs: str) -> bool:
    """Return whether a reader printed nothing wrong, but left things out."""
    words = set(re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", theirs))
    return set(re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", ours)) <= {*words, "0", "1", "2", "3"}


def tables(rows: list[dict[str, Any]]) -> None:
    """Print counts by damage, by command and by file; bits separately."""
    whole = [row for row in rows if row["damage"] != "bit"]
    bits = [row for row in rows if row["damage"] == "bit"]
    for key in ("damage", "command", "file", "case"):
        print_counts(whole, key, OUTCOMES)
    if bits:
        print_counts([{**row, "bits in": row["file"]} for row in bits], "bits in", OUTCOMES)


if __name__ == "__main__":
    main()
