#!/usr/bin/env python3
"""Counts how many small faults in src/nasrun the tests notice.

    scripts/mutants.py draw FAULTS.jsonl --number 300 --seed 0
    scripts/mutants.py run FAULTS.jsonl RESULTS.jsonl [--tree DIR] [--jobs 2] [--seconds 60]
    scripts/mutants.py compare BEFORE.jsonl AFTER.jsonl

A mutant is the package with one small change: another comparison, arithmetic or boolean operator, a
number one off, a negated condition, a statement, `not` or returned value left out, another default.
The number of mutants of each room of the package is in proportion to its lines. A mutant is found
again in another tree by its function, its line and its text, in any file and at any line number, so
that the same mutants run on two commits; if the line is gone, the mutant is `absent`.

First the whole suite runs once, unchanged but for a probe at every mutant, which notes the tests
that reach it: directly, in a process that they start, or in a fixture that they share. Then a
mutant runs with these tests only, cheapest first, until one fails or `--seconds` are spent; it is
killed if one fails or if they take several times as long. RESULTS.jsonl has the finished mutants,
which are not repeated, except survivors that did not run all their tests if more seconds are given.

Of the maintained libraries, mutmut 3 neither samples nor changes code outside plain functions, and
cosmic-ray runs one test command for all mutants; neither finds its mutants again in another commit.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGE = Path("src/nasrun")
LEFT_OUT = (".git", ".venv", "outputs", "__pycache__", ".*_cache")
COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
ARITHMETIC = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
SLOWER, MORE = 5, 60.0
"""A mutant hangs if its tests take `SLOWER` times as long and `MORE` seconds more."""

PROBE = '''
"""Notes which test reaches a mutant; the name of the test reaches processes that it starts."""

import os

KNOWN = set()


def reached(number):
    who = os.environ.get("NASRUN_TEST")
    if who is not None and (number, who) not in KNOWN:
        KNOWN.add((number, who))
        with open(os.environ["NASRUN_PROBES"], "a") as file:
            file.write(f"{number} {who}\\n")
'''

PLUGIN = '''
"""Tells the probes which test or shared fixture is running, and notes the time of each test."""

import json
import os

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    os.environ["NASRUN_TEST"] = item.nodeid
    result = yield
    del os.environ["NASRUN_TEST"]
    return result


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef, request):
    if fixturedef.scope == "function":
        return (yield)
    before = os.environ.get("NASRUN_TEST")
    os.environ["NASRUN_TEST"] = f"fixture {fixturedef.argname}"
    try:
        return (yield)
    finally:
        if before is None:
            del os.environ["NASRUN_TEST"]
        else:
            os.environ["NASRUN_TEST"] = before


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if not report.skipped:
        row = {"test": item.nodeid, "seconds": call.duration, "passed": report.passed}
        row["fixtures"] = list(item.fixturenames) if call.when == "setup" else []
        with open(os.environ["NASRUN_PROBES"] + ".tests", "a") as file:
            file.write(json.dumps(row) + "\\n")
    return report
'''


@dataclass(frozen=True)
class Mutant:
    """One change of one place, and the text by which to find the place again."""

    file: str
    scope: str
    """Dotted name of the function or class around it; empty in the module itself."""
    line: str
    """Text of its first line, without white space around."""
    kind: str
    was: str
    now: str

    @property
    def room(self) -> str:
        parts = Path(self.file).relative_to(PACKAGE).parts
        return parts[0] if len(parts) > 1 else "(flat)"

    @property
    def key(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Place:
    """The position of a mutant in the text of a file, and the lines of its probes."""

    mutant: Mutant
    start: int
    end: int
    probes: tuple[int, ...]
    """Lines before which a probe is inserted."""

    def changed(self, text: str) -> str:
        return text[: self.start] + self.mutant.now + text[self.end :]


def draw(root: Path, number: int, seed: int) -> list[Mutant]:
    """Return `number` mutants, each room's share by its lines; they depend only on `seed`."""
    rooms: dict[str, list[Mutant]] = defaultdict(list)
    lines: Counter[str] = Counter()
    for path in sorted((root / PACKAGE).rglob("*.py")):
        text = path.read_text()
        found = dict.fromkeys(place.mutant for place in places(str(path.relative_to(root)), text))
        if found:
            room = next(iter(found)).room
            rooms[room] += found
            lines[room] += len(text.splitlines())
    drawn: list[Mutant] = []
    generator = random.Random(seed)
    for room, share in shares(lines, number).items():
        drawn += generator.sample(rooms[room], min(share, len(rooms[room])))
    return drawn


def shares(sizes: Counter[str], number: int) -> dict[str, int]:
    """Return whole numbers of this sum in proportion to sizes; the largest remainders round up."""
    exact = {name: size * number / sizes.total() for name, size in sizes.items()}
    whole = {name: int(value) for name, value in exact.items()}
    for name in sorted(exact, key=lambda name: whole[name] - exact[name]):
        if sum(whole.values()) < number:
            whole[name] += 1
    return whole


def places(file: str, text: str) -> Iterator[Place]:
    """Yield all mutants of a file."""
    tree = ast.parse(text)
    raw = text.encode()
    starts = [0]
    for line in raw.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def offset(line: int, column: int) -> int:
        return len(raw[: starts[line - 1] + column].decode())

    functions = [node for node in ast.walk(tree) if isinstance(node, FUNCTION)]
    entries = tuple(filter(None, map(first_line, functions)))
    for node, role, scope, seen in walk(tree, (), None):
        for kind, now in changes(node, role):
            start = offset(node.lineno, node.col_offset)
            end = offset(node.end_lineno, node.end_col_offset)
            line = text.splitlines()[node.lineno - 1].strip()
            mutant = Mutant(file, ".".join(scope), line, kind, text[start:end], now)
            yield Place(mutant, start, end, (seen,) if seen else entries)


FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


def first_line(function: Any) -> int:
    """Return the line of the first statement that a function runs, 0 if it is that of `def`."""
    body = function.body
    line = int(body[1 if len(body) > 1 and is_text(body[0]) else 0].lineno)
    return 0 if line == function.lineno else line


def is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def walk(
    node: ast.AST, scope: tuple[str, ...], seen: int | None
) -> Iterator[tuple[Any, str, tuple[str, ...], int | None]]:
    """Yield each node but types, texts and assertions, with its role, scope and probe's line.

    A branch after `elif` or `else` has the probe of the whole statement: more tests run, none is
    missed.
    """
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or name in ("annotation", "returns"):
                continue
            if is_text(child) or isinstance(child, (ast.JoinedStr, ast.Assert)):
                continue
            inner, at = scope, seen
            if isinstance(child, (*FUNCTION, ast.ClassDef)):
                inner = (*scope, child.name)
                if isinstance(child, FUNCTION):
                    at = first_line(child) or seen
            elif isinstance(child, ast.stmt) and seen and name == "body":
                at = child.lineno if child.lineno != getattr(node, "lineno", 0) else seen
            yield child, name, inner, at
            yield from walk(child, inner, at)


def changes(node: Any, role: str) -> Iterator[tuple[str, str]]:
    """Yield the changes of a node in this field of its parent: their kinds and new texts."""

    def altered(**fields: Any) -> str:
        changed = copy.copy(node)
        for name, value in fields.items():
            setattr(changed, name, value)
        return f"({ast.unparse(changed)})"

    single = isinstance(node, ast.Compare) and len(node.ops) == 1
    constant = isinstance(node, ast.Constant)
    denied = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    if single:
        yield "comparison", altered(ops=[COMPARISONS[type(node.ops[0])]()])
    if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        yield "operator", altered(op=ARITHMETIC[type(node.op)]())
    if isinstance(node, ast.BoolOp):
        yield "operator", altered(op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    if denied:
        yield "negation left out", f"({ast.unparse(node.operand)})"
    if role in ("test", "ifs") and not (constant or denied or single):
        yield "condition negated", f"(not ({ast.unparse(node)}))"
    if constant and isinstance(node.value, bool):
        yield "truth", str(not node.value)
    elif constant and isinstance(node.value, (int, float)):
        yield "number", f"({node.value + (1 if node.value < 1 else -1)!r})"
    elif constant and role in ("defaults", "kw_defaults"):
        yield "default", "0" if node.value is None else "''"
    call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    if call or isinstance(node, (ast.AugAssign, ast.Raise, ast.Delete)):
        yield "statement left out", "pass"
    if isinstance(node, ast.Return) and node.value and ast.unparse(node.value) != "None":
        yield "returned value", "return None"


def located(mutants: Sequence[Mutant], tree: Path) -> dict[Mutant, Place]:
    """Return the places of mutants in a tree, also in other files; none if the line is gone."""
    by_file: dict[str, dict[tuple[str, ...], Place]] = {}
    for path in sorted((tree / PACKAGE).rglob("*.py")):
        file = str(path.relative_to(tree))
        by_file[file] = {mark(place.mutant): place for place in places(file, path.read_text())}
    found = {}
    for mutant in mutants:
        at_home = by_file.get(mutant.file, {}).get(mark(mutant))
        moved = [marks[mark(mutant)] for marks in by_file.values() if mark(mutant) in marks]
        if at_home is not None or len(moved) == 1:
            found[mutant] = at_home or moved[0]
    return found


def mark(mutant: Mutant) -> tuple[str, ...]:
    return mutant.scope, mutant.line, mutant.kind, mutant.was, mutant.now


class Copy:
    """A copy of a tree, in which one thing at a time is changed and tested."""

    def __init__(self, tree: Path, folder: Path) -> None:
        self.home, self.work = folder / "tree", folder
        shutil.copytree(tree, self.home, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
        if (tree.parent / "shared").exists():  # where tests look for real data
            (folder / "shared").symlink_to((tree.parent / "shared").resolve())
        (folder / "temporary").mkdir()

    def write(self, file: str, text: str) -> None:
        """Change a file, and drop its compiled form, which Python may take for the present one."""
        path = self.home / file
        path.write_text(text)
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
            compiled.unlink()

    def test(
        self, words: Sequence[str], seconds: float | None = None, **variables: str
    ) -> tuple[int | None, str]:
        """Return the status of pytest, `None` if it takes longer, and its output."""
        temporary = self.work / "temporary"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        paths = os.pathsep.join([str(self.home / "src"), str(self.work)])
        variables |= {"PYTHONPATH": paths, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
        options = ["-q", "-rfE", "--tb=no", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
        begun = subprocess.Popen(
            [sys.executable, "-m", "pytest", *options, *words],
            cwd=self.home,
            env=os.environ | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            out, _ = begun.communicate(timeout=seconds)
            return begun.returncode, out
        except subprocess.TimeoutExpired:
            os.killpg(begun.pid, signal.SIGKILL)
            return None, begun.communicate()[0]


@dataclass(frozen=True)
class Seen:
    """The seconds of each test that passes, and the tests that reach each mutant, by its key."""

    seconds: dict[str, float]
    tests: dict[str, list[str]]

    def of(self, mutant: Mutant, seconds: float) -> tuple[list[str], bool]:
        """Return the cheapest tests that reach a mutant, and whether these are all of them."""
        every = sorted(self.tests.get(mutant.key, []), key=lambda test: self.seconds[test])
        taken, spent = [], 0.0
        for test in every:
            spent += self.seconds[test]
            if taken and spent > seconds:
                return taken, False
            taken.append(test)
        return taken, True


def see(tree: Path, found: dict[Mutant, Place], jobs: int, words: Sequence[str]) -> Seen:
    """Run the suite once with a probe at every mutant."""
    mutants = list(found)
    with tempfile.TemporaryDirectory(prefix="probes-") as folder:
        work = Path(folder)
        copied = Copy(tree, work)
        (work / "nasrun_probe.py").write_text(PROBE)
        (work / "nasrun_probe_plugin.py").write_text(PLUGIN)
        by_file = defaultdict(list)
        for number, mutant in enumerate(mutants):
            by_file[found[mutant].mutant.file].append((number, found[mutant].probes))
        for file, probes in by_file.items():
            copied.write(file, probed((tree / file).read_text(), probes))
        notes = work / "notes"
        many = ["--numprocesses", str(jobs)] if jobs > 1 else []
        status, out = copied.test(
            ["-p", "nasrun_probe_plugin", *many, *words], NASRUN_PROBES=str(notes)
        )
        if status not in (0, 1):
            raise SystemExit(f"the suite itself ends with status {status}:\n{out[-2000:]}")
        return noted(mutants, notes)


def probed(text: str, probes: Sequence[tuple[int, Sequence[int]]]) -> str:
    """Return the text with a call before each of these lines that notes the reached mutant."""
    lines = text.splitlines(keepends=True)
    for at, number in sorted({(at, number) for number, ats in probes for at in ats}, reverse=True):
        margin = lines[at - 1][: len(lines[at - 1]) - len(lines[at - 1].lstrip())]
        lines.insert(at - 1, f"{margin}__import__('nasrun_probe').reached({number})\n")
    return "".join(lines)


def noted(mutants: Sequence[Mutant], notes: Path) -> Seen:
    """Return what probes and tests noted; a shared fixture counts as all tests that use it."""
    seconds: Counter[str] = Counter()
    failed, of_fixture = set(), defaultdict(set)
    for line in Path(f"{notes}.tests").read_text().splitlines():
        row = json.loads(line)
        seconds[row["test"]] += row["seconds"]
        if not row["passed"]:
            failed.add(row["test"])
        for fixture in row["fixtures"]:
            of_fixture[f"fixture {fixture}"].add(row["test"])
    passed = {test: value for test, value in seconds.items() if test not in failed}
    tests = defaultdict(set)
    for line in notes.read_text().splitlines() if notes.exists() else ():
        number, _, who = line.partition(" ")
        tests[mutants[int(number)].key] |= of_fixture.get(who, {who}) & passed.keys()
    for test in sorted(failed):
        print(f"fails without any mutant, not counted: {test}")
    return Seen(passed, {key: sorted(found) for key, found in tests.items()})


def trial(copied: Copy, mutant: Mutant, place: Place, seen: Seen, seconds: float) -> dict[str, Any]:
    """Run the tests that reach a mutant, and return the outcome as a row."""
    tests, every = seen.of(mutant, seconds)
    row = asdict(mutant) | {
        "room": mutant.room,
        "tests": len(tests),
        "all": every,
        "limit": seconds,
    }
    if not tests:
        return row | {"outcome": "not reached"}
    text = (copied.home / place.mutant.file).read_text()
    chosen = copied.work / "tests"
    chosen.write_text("\n".join(tests))
    copied.write(place.mutant.file, place.changed(text))
    began = time.monotonic()
    try:
        patience = MORE + SLOWER * sum(seen.seconds[test] for test in tests)
        status, out = copied.test(["-x", f"@{chosen}"], patience)
    finally:
        copied.write(place.mutant.file, text)
    names = [line for line in out.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    outcome = "hangs" if status is None else "killed" if status else "survived"
    row |= {"outcome": outcome, "by": names[0] if names else out[-200:] if status else ""}
    return row | {"took": round(time.monotonic() - began, 1)}


def run(options: argparse.Namespace) -> None:
    tree = options.tree.resolve()
    mutants = [Mutant(**json.loads(line)) for line in options.mutants.read_text().splitlines()]
    found = located(mutants, tree)
    notes = Path(f"{options.results}.seen")
    if not notes.exists():
        seen = see(tree, found, options.jobs, options.tests)
        notes.write_text(json.dumps(asdict(seen)))
    seen = Seen(**json.loads(notes.read_text()))
    done = results(options.results)
    with options.results.open("a") as file, tempfile.TemporaryDirectory(prefix="mutants-") as work:
        copies: SimpleQueue[Copy] = SimpleQueue()
        for number in range(options.jobs):
            copies.put(Copy(tree, Path(work) / str(number)))

        def one(mutant: Mutant) -> None:
            row = done.get(mutant.key)
            if row is not None and (row["outcome"] != "survived" or row["all"]):
                return
            if row is not None and row["limit"] >= options.seconds:
                return
            if mutant not in found:
                row = asdict(mutant) | {"room": mutant.room, "outcome": "absent"}
            else:
                copied = copies.get()
                try:
                    row = trial(copied, mutant, found[mutant], seen, options.seconds)
                finally:
                    copies.put(copied)
            print(f"{row['outcome']:12}{mutant.file}: {mutant.was!r} -> {mutant.now!r}", flush=True)
            file.write(json.dumps(row) + "\n")
            file.flush()

        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(one, mutants))
    print_shares({str(options.results): results(options.results)})


def results(path: Path) -> dict[str, dict[str, Any]]:
    """Return the last row of each mutant, by its key."""
    rows = map(json.loads, path.read_text().splitlines() if path.exists() else ())
    return {Mutant(**{name: row[name] for name in FIELDS}).key: row for row in rows}


FIELDS = tuple(Mutant.__dataclass_fields__)


def print_shares(columns: dict[str, dict[str, dict[str, Any]]]) -> None:
    """Print the killed share of each room, as Markdown, for mutants that exist in all trees."""
    here = [
        {k for k, row in rows.items() if row["outcome"] != "absent"} for rows in columns.values()
    ]
    common = set.intersection(*here)
    rooms: dict[str, list[str]] = defaultdict(list)
    for key in sorted(common):
        rooms[next(iter(columns.values()))[key]["room"]].append(key)
    print("\n| room | mutants | " + " | ".join(f"killed, {name}" for name in columns) + " |")
    print("|---|---|" + "---|" * len(columns))
    for room, keys in [*rooms.items(), ("all", sorted(common))]:
        killed = [sum(dead(rows[key]) for key in keys) for rows in columns.values()]
        shown = " | ".join(f"{k} ({k / len(keys):.1%})" if keys else "0" for k in killed)
        print(f"| {room} | {len(keys)} | {shown} |")


def dead(row: dict[str, Any]) -> bool:
    return row["outcome"] in ("killed", "hangs")


def compare(options: argparse.Namespace) -> None:
    before, after = results(options.before), results(options.after)
    print_shares({"before": before, "after": after})
    for key in before.keys() & after.keys():
        if dead(before[key]) and not dead(after[key]) and after[key]["outcome"] != "absent":
            place = f"{after[key]['file']}: {after[key]['line']!r}"
            print(f"no longer killed: {place}: {after[key]['was']!r} -> {after[key]['now']!r}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    drawing = verbs.add_parser("draw")
    drawing.add_argument("mutants", type=Path)
    drawing.add_argument("--number", type=int, default=300)
    drawing.add_argument("--seed", type=int, default=0)
    running = verbs.add_parser("run")
    running.add_argument("mutants", type=Path)
    running.add_argument("results", type=Path)
    running.add_argument("--tree", type=Path, default=ROOT)
    running.add_argument("--jobs", type=int, default=2)
    running.add_argument("--seconds", type=float, default=60.0)
    running.add_argument("--tests", nargs="*", default=[], help="only these count")
    comparing = verbs.add_parser("compare")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    options = parser.parse_args()
    if options.verb == "draw":
        drawn = draw(ROOT, options.number, options.seed)
        options.mutants.write_text("".join(f"{mutant.key}\n" for mutant in drawn))
    elif options.verb == "run":
        run(options)
    else:
        compare(options)


if __name__ == "__main__":
    main()
