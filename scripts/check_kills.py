#!/usr/bin/env python3
"""Kills commands at random moments, repeats them, and compares with undisturbed ones.

    scripts/check_kills.py run       runs the missing trials, one after the other
    scripts/check_kills.py tables    prints the results so far, as Markdown

A trial draws a strategy and a command: a search, a selection from one, a retraining or a transfer
of its choice, the whole pipeline, or a sweep. The command's process group gets SIGKILL at a random
moment, one to three times, and is then repeated to its end. In a third of the trials the power
fails, too: from each file, everything that was written but not flushed to the disk is removed. Then
the list of files and their contents, except for times, must equal those of an undisturbed command.
What comes before the command (the search of a selection) is run once and copied. A command is a
fork of this process, which has everything imported. A finished trial is a line of WORK/done.jsonl
and is not repeated; the folder of a failed one is kept. Not imitated are names of files that a
power failure takes back, and the processes of an engine: all trainings run within the command.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import select
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

Command = tuple[str, ...]
EVERYWHERE = ("budget.threads=1", "budget.device=cpu", "progress=false")
SMALL = ("rounds=3", "width=4", "depth=3", "batch_size=32", "images=64")
CELLS = (
    *(*SMALL, "space.nodes=1", "space.kept_edges=1"),
    "space.operations=[none,max_pool_3x3,skip_connect,sep_conv_3x3]",
)
CANDIDATES = (*CELLS, "strategy.evaluator.epochs=1", "engine=serial")
PAIRS = ("strategy.together=2",)
HALVING = ("selector.contestants=2", "selector.evaluator.epochs=1", "engine=serial")
RADARS = (*CELLS, "strategy.explore.updates=2", "strategy.explore.samples=2")
POPULATIONS = (
    *("rounds=3", "width=2", "images=64", "batch_size=8", "task.steps=2", "engine=serial"),
    *("task.generator_batch=8", "task.distance.samples=40", "task.distance.report_samples=40"),
    *("task.distance.epochs=1", "strategy.size=4", "strategy.children=1", "strategy.parents=2"),
)
GROWING = (
    *("rounds=3", "width=2", "images=64", "batch_size=16", "engine=serial"),
    *("strategy.intervals=2", "strategy.patience=null"),
)
SUPERNETS = (
    *("darts", "darts_2nd", "milenas", "snas", "dsnas", "gdas", "sdarts", "sdarts_adversarial"),
    *("pcdarts", "drnas", "sgas", "fixed_alpha"),
)
WORDS = {
    **dict.fromkeys(SUPERNETS, CELLS),
    **dict.fromkeys(("radars", "radars_random", "radars_lstm"), RADARS),
    "random": (*CANDIDATES, "strategy.num_candidates=4", *PAIRS),
    "evolution": (*CANDIDATES, "strategy.population=2", "strategy.tournament=1"),
    "bayesian": (*CANDIDATES, "strategy.num_candidates=6", "strategy.initial=1", *PAIRS),
    "epnas": (
        *(*CANDIDATES, "space.nodes=2", "strategy.num_candidates=6", *PAIRS),
        *("strategy.beam=2", "strategy.children=2"),
    ),
    "nsga2": (*CANDIDATES, "strategy.num_candidates=6", "strategy.population=2", *PAIRS),
    "reinforce": (*CELLS, "strategy.num_candidates=2"),
    **dict.fromkeys(("pbtnas", "pbt_random", "pbt_mutation"), POPULATIONS),
    "autokeras": GROWING,
}
"""Overrides that make a search of every strategy small."""
UNTRAINED = (POPULATIONS, GROWING)
"""Those of searches whose networks are not retrained here."""
SHORT = (
    *("retrain.epochs=2", "retrain.channels=2", "retrain.layers=3"),
    "retrain.auxiliary=false",
)
MOVED = (
    *("transfer.epochs=2", "transfer.channels=2", "transfer.layers=3"),
    *("transfer.auxiliary=false", "transfer.dataset.images=64"),
)
SWEEP = "hydra.sweep.dir=outputs/sweep"
KILLED = -signal.SIGKILL
TIMING = "timing.jsonl"
TIMES = ("seconds", "finished_ns", "created", "memory_gib", TIMING, "check")
"""Keys of measurements, and of digests that depend on them."""
UNLIKE = ("state.json", "subspaces.png", "tree.png", "commands.jsonl", "nasrun.log")
"""Files that may differ, since they have times, measured memory, or commands by the clock."""
MOMENTS = ("before the first round", "within rounds", "after the last round", "too late")


def main() -> None:
    """Run the missing trials, or print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["run", "tables"])
    parser.add_argument("--work", type=Path, default=Path("outputs/kills"))
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=list(WORDS), help="leave out other strategies")
    words = parser.parse_args()
    done = words.work / "done.jsonl"
    if words.what == "run":
        words.work.mkdir(parents=True, exist_ok=True)
        import_everything()
        before = {(row["seed"], row["trial"]) for row in read(done)}
        for number in range(words.trials):
            trial = Trial.draw(words.seed, number)
            wanted = words.only is None or trial.strategy in words.only
            if wanted and (words.seed, number) not in before:
                row = {"seed": words.seed, "trial": number}
                row |= attempt(trial, words.work, f"trial-{number:03d}")
                with done.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(told(row), flush=True)
    table(read(done))


@dataclass(frozen=True)
class Trial:
    """The commands before, the one that is killed, and the parts of its duration at which it is."""

    strategy: str
    stage: str
    before: tuple[Command, ...]
    command: Command
    kills: tuple[float, ...]
    power: bool

    @classmethod
    def draw(cls, seed: int, number: int) -> Trial:
        """Return the trial of this number."""
        dice = random.Random(f"{seed} {number}")
        strategy = dice.choice(list(WORDS))
        stages = ["search", "search", "select", "select", "run", "sweep"]
        if WORDS[strategy] not in UNTRAINED:
            stages += ["retrain", "transfer"]
        stage = dice.choice(stages)
        selector = dice.choice(selectors(strategy))
        kills = tuple(dice.random() for _ in range(dice.randint(1, 3)))
        before, command = commands(strategy, stage, selector)
        name = f"select {selector}" if stage == "select" else stage
        return cls(strategy, name, before, command, kills, dice.random() < 1 / 3)


def selectors(strategy: str) -> tuple[str, ...]:
    """Return the selectors that can read what a strategy leaves, without variants of others."""
    if WORDS[strategy] is POPULATIONS:
        return ("fittest", "soup")
    if strategy in ("reinforce", "autokeras"):
        return ("fittest",)
    if strategy == "nsga2":
        return ("fittest", "halving", "local_search", "knee", "at_most")
    if WORDS[strategy][: len(CANDIDATES)] == CANDIDATES:
        return ("fittest", "halving", "local_search")
    return ("magnitude", "argmax", "perturb", "frontier", "at_least", "healthy")


def commands(strategy: str, stage: str, selector: str) -> tuple[tuple[Command, ...], Command]:
    """Return the commands before a stage, and that of the stage."""
    words = (f"strategy={strategy}", *WORDS[strategy], *EVERYWHERE)
    search: Command = ("search", *words)
    extra = HALVING if selector in ("halving", "local_search") else ()
    choose: Command = ("select", f"selector={selector}", *extra, *EVERYWHERE)
    if stage == "search":
        return (), search
    if stage == "select":
        return (search,), choose
    if stage == "retrain":
        return (search, choose), ("retrain", *SHORT, *EVERYWHERE)
    if stage == "transfer":
        return (search, choose), ("transfer", *MOVED, *EVERYWHERE)
    if stage == "sweep":
        return (), ("search", "-m", *words, "seed=0,1", SWEEP)
    if WORDS[strategy] in UNTRAINED:
        return (), ("run", *words, "stages=[search,select]")
    return (), ("run", *words, *SHORT, *MOVED, "baseline=false")


def attempt(trial: Trial, work: Path, name: str) -> dict[str, Any]:
    """Run a trial and return its outcome; keep its folder if it differs from an undisturbed one."""
    whole, duration = reference((*trial.before, trial.command), work / "references")
    folder = work / name
    shutil.rmtree(folder, ignore_errors=True)
    if trial.before:
        start, _ = reference(trial.before, work / "references")
        shutil.copytree(start, folder)
    else:
        folder.mkdir()
    row: dict[str, Any] = {**asdict(trial), "moments": [], "cut": 0}
    for part in trial.kills:
        sizes = {path.stat().st_ino: path.stat().st_size for path in files(folder)}
        status, _, flushed = run(trial.command, folder, after=part * duration)
        if status != KILLED:
            row["moments"].append(MOMENTS[3])
            continue
        row["moments"].append(moment(folder, whole, trial))
        if trial.power:
            row["cut"] += lose_power(folder, sizes | flushed)
    status, row["said"], _ = run(trial.command, folder)
    row |= {"status": status, "other": differences(whole / "outputs", folder / "outputs")}
    if status == 0 and not row["other"]:
        shutil.rmtree(folder)
    return row


def reference(commands: Sequence[Command], folder: Path) -> tuple[Path, float]:
    """Return a folder in which these commands ran undisturbed, and the seconds of the last one.

    They ran with the code of this commit, since runs keep its name.
    """
    from nasrun.runs.environment import environment

    made = json.dumps([environment()["git"], commands])
    mark = hashlib.sha256(made.encode()).hexdigest()[:8]
    path = folder / f"{commands[-1][0]}-{mark}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=folder))
        if len(commands) > 1:
            shutil.copytree(reference(commands[:-1], folder)[0], draft, dirs_exist_ok=True)
        began = time.monotonic()
        status, said, _ = run(commands[-1], draft)
        if status != 0:
            raise SystemExit(f"{' '.join(commands[-1])}: {said}")
        (draft / "seconds").write_text(str(time.monotonic() - began))
        draft.rename(path)
    return path, float((path / "seconds").read_text())


def run(
    command: Command, folder: Path, after: float | None = None
) -> tuple[int, str, dict[int, int]]:
    """Run a command in a folder, or kill it after some seconds.

    Returns its status, the last line on standard error, and the flushed length of every file by its
    inode.
    """
    flushed = folder.with_name(f"{folder.name}.flushed")
    errors = folder.with_name(f"{folder.name}.errors")
    alive, end = os.pipe()
    child = os.fork()
    if not child:
        execute(command, folder, flushed, errors)
    os.close(end)
    os.setpgid(child, child)
    if after is not None and not select.select([alive], [], [], after)[0]:
        os.killpg(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(alive)
    lines = flushed.read_text().split() if flushed.exists() else []
    said = (errors.read_text().strip().splitlines() or [""])[-1] if errors.exists() else ""
    for path in (flushed, errors):
        path.unlink(missing_ok=True)
    sizes = dict(tuple(map(int, line.split(":"))) for line in lines)
    return status, said, sizes  # type: ignore[return-value]  # pairs


def execute(command: Command, folder: Path, flushed: Path, errors: Path) -> NoReturn:
    """Run the command in its own process, which records what it flushes; never returns."""
    status = 1
    try:
        os.setpgid(0, 0)
        notes = os.open(flushed, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT), 2)
        os.chdir(folder)
        os.environ["NASRUN_CACHE"] = str(folder.resolve() / "cache")
        flush = os.fsync

        def noted(descriptor: Any) -> None:
            flush(descriptor)
            facts = os.fstat(descriptor)
            os.write(notes, f"{facts.st_ino}:{facts.st_size}\n".encode())

        os.fsync = noted
        from nasrun.cli.main import main as nasrun

        nasrun(command)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001  it is printed as Python prints it
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def import_everything() -> None:
    """Import everything by using it: a pipeline and a population, in this process."""
    from nasrun.cli.main import main as nasrun

    with tempfile.TemporaryDirectory() as folder:
        kept = os.dup(1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        for strategy in ("darts", "pbtnas"):
            _, command = commands(strategy, "run", "")
            try:
                nasrun([*command, f"outputs={folder}/outputs"])
            except SystemExit as end:
                if end.code != 0:
                    raise
        sys.stdout.flush()
        os.dup2(kept, 1)


def files(folder: Path) -> Iterator[Path]:
    """Return all files below a folder."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())


def lose_power(folder: Path, known: dict[int, int]) -> int:
    """Cut off from each file what was not flushed, and return how many files lost something.

    known: the length of a file on the disk, by its inode; a missing one has none.
    """
    cut = 0
    for path in files(folder):
        facts = path.stat()
        if (length := known.get(facts.st_ino, 0)) < facts.st_size:
            os.truncate(path, length)
            cut += 1
    return cut


def moment(folder: Path, whole: Path, trial: Trial) -> str:
    """Return when a command was killed, by the logged rounds of it and of an undisturbed one."""
    ours, all_ = (sum(_rounds(path) for path in place.rglob("metrics.jsonl"))
                  for place in (folder, whole))  # fmt: skip
    if ours == all_:
        return MOMENTS[2]
    begun = any(_rounds(path) for path in folder.rglob(f"{trial.command[0]}/**/metrics.jsonl"))
    later = trial.command[0] == "run" and ours
    return MOMENTS[1] if begun or later else MOMENTS[0]


def _rounds(path: Path) -> int:
    return path.read_bytes().count(b"\n")


def differences(one: Path, other: Path) -> list[str]:
    """Return the files that only one of two folders has, or that differ by more than times."""
    ours, theirs = (
        {str(path.relative_to(folder)): path for path in files(folder)} for folder in (one, other)
    )
    return [
        name
        for name in sorted({*ours, *theirs})
        if name not in ours or name not in theirs or content(ours[name]) != content(theirs[name])
    ]


def content(path: Path) -> object:
    """Return the content of a file without times and digests of times."""
    if path.name in UNLIKE:
        return None
    if path.suffix == ".pt":
        import torch

        return repr(timeless(torch.load(path, weights_only=True)))
    if path.name == "jobs.jsonl":  # of the last sweep there
        jobs = [json.loads(line) for line in path.read_text().splitlines()]
        return [{**job, "sweep": None} for job in jobs if job["sweep"] == jobs[-1]["sweep"]]
    if path.suffix in (".json", ".jsonl"):
        return [repr(timeless(json.loads(text))) for text in texts(path)]
    if path.name == "multirun.yaml":
        return [
            line for line in path.read_text().splitlines() if not line.strip().startswith("cwd:")
        ]
    return path.read_bytes()


def texts(path: Path) -> list[str]:
    """Return the JSON texts of a file: one per line, or the whole."""
    text = path.read_text()
    return text.splitlines() if path.suffix == ".jsonl" else [text]


def timeless(node: Any) -> Any:
    """Return a value without times; tensors as lists."""
    if isinstance(node, dict):
        return {key: timeless(value) for key, value in node.items() if key not in TIMES}
    if isinstance(node, list | tuple):
        return [timeless(value) for value in node]
    return (str(node.dtype), node.tolist()) if hasattr(node, "tolist") else node


def read(done: Path) -> list[dict[str, Any]]:
    """Return the finished trials."""
    return [json.loads(line) for line in done.read_text().splitlines()] if done.exists() else []


def told(row: dict[str, Any]) -> str:
    """Return how a trial ended, in words."""
    ended = "as undisturbed"
    if row["status"] != 0:
        ended = f"status {row['status']}: {row['said']}"
    elif row["other"]:
        ended = f"differs in {', '.join(row['other'])}"
    lost = f", {row['cut']} files cut" if row["power"] else ""
    kills = ", ".join(row["moments"])
    return f"{row['trial']} {row['strategy']} {row['stage']}: killed {kills}{lost}: {ended}"


def table(rows: Sequence[dict[str, Any]]) -> None:
    """Print a line for every kind of command, then the trials that differ from undisturbed ones."""
    titles = ("command", "trials", *MOMENTS, "power lost", "files cut", "other")
    print("\n|", *(f"{title} |" for title in titles))
    print("|---" * len(titles) + "|")
    kinds = sorted({row["stage"] for row in rows})
    for kind in [*kinds, None]:
        some = [row for row in rows if kind in (row["stage"], None)]
        moments = Counter(moment for row in some for moment in row["moments"])
        other = sum(bool(row["status"] or row["other"]) for row in some)
        counts = (
            *(moments[name] for name in MOMENTS),
            sum(row["power"] for row in some),
            sum(row["cut"] for row in some),
            other,
        )
        print(f"| {kind or 'all'} | {len(some)} |", *(f"{count} |" for count in counts))
    for row in rows:
        if row["status"] or row["other"]:
            print(f"\n{told(row)}")


if __name__ == "__main__":
    main()
