#!/usr/bin/env python3
"""Types random command lines, and counts nasrun's answers.

    scripts/fuzz.py run         runs the missing ones of a thousand lines, one after the other
    scripts/fuzz.py tables      prints the results so far, as Markdown

Every line is drawn with its own seed: a verb, and words out of all keys of the composed
configuration with right, wrong, extreme and strange values, groups, sweeps, quotes, flags and
Hydra's own words. It runs in this process, in a folder with a small finished run, with few images
and one round. It passes if it is accepted (status 0, or its work has begun and is cut short after a
few seconds; all results are numbers), or if it is refused on one line within seconds, with nothing
left on disk. Everything else is a fault. A finished line is a line of WORK/lines.jsonl and is not
repeated.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from check_attack import CASE, RUN, enter, outside
from check_damage import HERE, prepare
from trials import FAILED, REFUSED, Answer, Journal, TooLong, answered, limited, print_counts

OUTCOMES = ("refused", "accepted", "cut short")
SECONDS, BEGUN = 15.0, 4.0
"""CPU seconds that a line may need before its work begins, and afterwards."""
MEMORY = 10 * 2**30
"""Bytes of address space, so that too large sizes fail."""
TINY = f"images=64 rounds=1 width=2 depth=3 batch_size=8 {HERE}".split()
KNOWN_GOOD = 0.4
"""The share of values that are those of the configuration, or near them."""

VALUES = (
    "0",
    "1",
    "-1",
    "2",
    "0.5",
    "-0.5",
    "1e-300",
    "1e308",
    "-1e308",
    "1e999",
    "nan",
    "inf",
    "-inf",
    "99999999999999999999",
    "-99999999999999999999",
    "9223372036854775807",
    "true",
    "false",
    "null",
    "",
    "''",
    '""',
    "[]",
    "{}",
    "[1,2,3]",
    "[[],[]]",
    "{a:1}",
    "???",
    "x",
    "None",
    "darts",
    "é",
    "日本",
    "'a b'",
    '"a, b"',
    "'it''s'",
    "\\,",
    "a\\=b",
    "a=b",
    "$x",
    "${seed}",
    "${nope}",
    "${oc.env:HOME}",
    "${oc.env:NOPE}",
    "${oc.create:{}}",
    "${",
    "~",
    "~/x",
    "/",
    ".",
    "..",
    "../x",
    "/nope/x",
    "outputs",
    "/dev/null",
    "/proc/x",
    "images",
    "t.csv",
    "*",
    "%s",
    "\x1b[31m",
    "\n",
    "\t",
    "\x00",
    " ",
    "-",
    "--",
    "x" * 300,
    "1,2",
    "0,1",
    "a,b",
    "range(0,2)",
    "range(0,0)",
    "range(0,-1)",
    "interval(0,1)",
    "glob(*)",
    "choice()",
    "choice(1,2)",
    "shuffle(1,2)",
    "sort(2,1)",
    "tag(x,1)",
    "int(1.5)",
    "str(1)",
    "float(x)",
    "bool(x)",
    "extend_list(1)",
    "range(3)",
    "{_target_:os.getcwd}",
    "[{_target_:os.getcwd}]",
    "1_000",
    "0x10",
    "1e3",
    "1.0",
    "+1",
    "01",
    ".5",
    "5.",
    "on",
    "yes",
    "2020-01-01",
    "1:30",
    "!!int 3",
    "&a",
)
FLAGS = (
    "-m",
    "--multirun",
    "--cfg",
    "--cfg=job",
    "-c",
    "job",
    "hydra",
    "all",
    "--info",
    "-i",
    "plugins",
    "--resolve",
    "-r",
    "--package",
    "-p",
    "model",
    "--hydra-help",
    "--help",
    "-h",
    "--version",
    "--x",
    "-",
    "--",
    "--shell-completion",
    "-sc",
    "install=bash",
    "--config-name",
    "--config-path",
    "--run",
    "trust=",
    "trust=[nope]",
    "trust=[os]",
    "trust=os.path",
    "trust=../x",
    "--experimental-rerun",
    "x",
    "=",
    "=x",
    "é",
)
HYDRA = (
    "hydra.job.chdir",
    "hydra.run.dir",
    "hydra.sweep.dir",
    "hydra.sweep.subdir",
    "hydra.mode",
    "hydra.verbose",
    "hydra.output_subdir",
    "hydra.sweeper.max_batch_size",
    "hydra.sweeper._target_",
    "hydra.launcher._target_",
    "hydra.searchpath",
    "hydra.job.name",
    "hydra.job.env_set",
    "hydra.callbacks",
    "hydra.job_logging",
    "hydra/launcher",
    "hydra/sweeper",
    "hydra/job_logging",
    "hydra.nope",
    "hydra",
    "hydra/nope",
    "hydra.job.id",
    "hydra.help.template",
    "hydra.runtime.cwd",
    "hydra.sweeper.params",
    "hydra.job.config.override_dirname",
)


def main() -> None:
    """Run the missing lines, or print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["run", "tables"])
    parser.add_argument("--work", type=Path, default=Path("outputs/fuzz"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lines", type=int, default=1000)
    words = parser.parse_args()
    work = words.work.absolute()
    journal = Journal(work / "lines.jsonl")
    if words.what == "run":
        work.mkdir(parents=True, exist_ok=True)
        prepare(work, (CASE,))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        journal.run(trials(work, words.seed, words.lines))
    print_counts(journal.rows(), "verb", OUTCOMES)


def trials(work: Path, seed: int, count: int) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Return `count` lines."""
    for number in range(count):
        name = f"{seed} {number}"
        yield name, lambda name=name: trial(work, line(random.Random(name)))  # type: ignore[misc]


def line(drawn: random.Random) -> list[str]:
    """Return the words of a command."""
    from nasrun.cli.verbs import VERBS

    verb = drawn.choice([*VERBS, *VERBS, "search", "search", "run", "plan", "serch", ""])
    known = VERBS.get(verb)
    if known is None or not (known.composed or verb in ("plan", "latency")):
        return [verb, *reading(drawn, dict(known.keys) if known else {})]
    words = list(TINY) if drawn.random() < 0.95 else []
    if verb in ("select", "retrain", "transfer", "plan", "latency"):
        words = HERE.split()[: 2 if verb == "latency" else 3]
    if verb == "plan":
        verb = f"plan {drawn.choice(['search', 'retrain', 'run', 'nope'])}"
    base = drawn.choice(BASES) if verb in ("search", "run", "plan search", "plan run") else ()
    words += base
    for _ in range(drawn.choice([1, 1, 1, 2])):
        words.insert(drawn.choice([0, len(words), len(words)]), override(drawn, base))
    if drawn.random() < 0.1:
        words.insert(drawn.randrange(len(words) + 1), drawn.choice(FLAGS))
    if drawn.random() < 0.2:
        words.append("-m")
    if known is not None and known.keys and drawn.random() < 0.5:
        words.append(f"{drawn.choice([*known.keys])}={drawn.choice(VALUES)}")
    return [*verb.split(), *words]


def reading(drawn: random.Random, keys: dict[str, str]) -> list[str]:
    """Return the words of a verb that only reads: existing and missing names, and keys."""
    names = [str(RUN), "runs", "strategy", "images", "images/dark/00.png", "nope", *VALUES]
    words = [
        drawn.choice(names[: drawn.choice([5, len(names)])]) for _ in range(drawn.randrange(3))
    ]
    for _ in range(drawn.randrange(3)):
        key = drawn.choice([*keys, "genotype", "format", "outputs", "nope"])
        right = [*keys.get(key, "x").split("|"), "darts_v2", "json", "true"]
        words.append(f"{key}={drawn.choice(right if drawn.random() < KNOWN_GOOD else VALUES)}")
    return words


BASES = (
    *[()] * 3,
    *[(f"strategy={name}",) for name in ("radars", "pbtnas", "random", "snas")],
    *[(word,) for word in ("space=nasbench201", "space=mobile", "selector=perturb")],
)
"""The first words of a line; its keys are those of the configuration that they compose to."""


@cache
def keys_of(base: tuple[str, ...]) -> dict[str, Any]:
    """Return all keys of a configuration with their values."""
    from omegaconf import OmegaConf

    from nasrun.config import compose
    from nasrun.config.files import leaves

    content = OmegaConf.to_container(compose(base).config, resolve=False)
    return {key: value for key, value in leaves(content) if "._" not in key}


def override(drawn: random.Random, base: tuple[str, ...]) -> str:
    """Return a word of the grammar of overrides, mostly a plausible one."""
    from nasrun.config import GROUPS, options

    kind = drawn.random()
    if kind < 0.3:
        group = drawn.choice([*GROUPS, "method", "evaluator", "optimizer", "retrain.optimizer"])
        group = drawn.choice([group] * 8 + [f"+{group}", f"~{group}", f"{group}@x", f"/{group}"])
        there = [*options(group.strip("+~/"))] or ["adam", "darts"]
        some = f"{drawn.choice(there)},{drawn.choice(there)}"
        value = drawn.choice([*[drawn.choice(there)] * 6, some, f"[{some}]", drawn.choice(VALUES)])
        return f"{group}={value}"
    if kind < 0.4:
        return f"{drawn.choice(HYDRA)}={drawn.choice(VALUES)}"
    keys = keys_of(base)
    key = drawn.choice([*keys])
    value = keys[key]
    if drawn.random() < 0.1:
        odd = [
            f"+{key}",
            f"++{key}",
            f"~{key}",
            f"{key}.x",
            f"{key}@x",
            f"{key}[0]",
            f"{key}._target_",
        ]
        key = drawn.choice(odd)
    if drawn.random() > KNOWN_GOOD:
        return f"{key}={drawn.choice(VALUES)}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = drawn.choice([value, value * 2, value / 2, value + 1, -value, value * 1000])
    if value is None or isinstance(value, bool):
        value = json.dumps(value)
    return f"{key}={value}"


class Begun:
    """Records when a stage's rounds begin; from then on a line has limited seconds."""

    def __init__(self) -> None:
        self.yes = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Make `drive` report its beginning in the context, and cut it short."""
        from nasrun.pipeline import work

        drive = work.drive

        def short(*given: Any, **named: Any) -> None:
            self.yes = True
            with limited(BEGUN):
                drive(*given, **named)

        work.drive = short  # type: ignore[assignment]
        try:
            yield
        finally:
            work.drive = drive


def trial(work: Path, words: list[str]) -> dict[str, Any]:
    """Run one line and return its outcome."""
    enter(work)
    Path("t.csv").write_text("architecture,cifar10_test_200ep\nx,90\n")
    before, began, begun = listing(), time.process_time(), Begun()
    with begun.watched():
        answer = answered(words, SECONDS)
    outcome = judged(answer, begun.yes, before)
    took = round(time.process_time() - began, 1)
    return {"verb": words[0] or "(none)", "words": words, "seconds": took, "outcome": outcome}


def judged(answer: Answer, begun: bool, before: set[str]) -> str:
    """Return how a line ended."""
    printed = answer.out + answer.err
    if begun and f"{TooLong.__name__}: " in answer.err:
        return "cut short"
    if answer.fault is not None:
        return answer.fault
    if any(not (char.isprintable() or char in "\n\t") for char in printed):
        return f"{FAILED}: control characters are printed"
    if answer.status == REFUSED:
        left = sorted(listing() - before)
        if left and not begun:
            return f"{FAILED}: left {left[:3]}: {answer.errors[0][:200]}"
        return f"refused: {answer.errors[0][:300]}"
    if answer.status not in (0, 75):
        return f"{FAILED}: status {answer.status}"
    if wrong := [str(path) for path in Path("outputs").rglob("result.json") if not finite(path)]:
        return f"{FAILED}: no number in {wrong}"
    return "accepted"


def finite(path: Path) -> bool:
    """Return whether all accuracies and losses of a result are numbers."""
    found = json.loads(path.read_text())
    return all(y is not None for x, y in found.items() if x.endswith(("accuracy", "loss", "score")))


def listing() -> set[str]:
    """Return all files and folders here."""
    return {*outside(), *map(str, Path("outputs").rglob("*"))}


if __name__ == "__main__":
    main()
