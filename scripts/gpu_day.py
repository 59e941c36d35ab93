#!/usr/bin/env python3
"""Checks and measures everything that needs a GPU, in calls of at most nine minutes, unattended.

    scripts/gpu_day.py --outputs gpu                    # repeat while its exit status is 75
    scripts/gpu_day.py --outputs gpu --again bench_     # measure the parts of this name anew
    scripts/gpu_day.py --outputs gpu --only bench_      # only the parts of this name
    scripts/gpu_day.py --device cpu --tiny --outputs tried

A part is a check or a measurement. A finished part is never repeated; one that the end of a call
cuts off begins anew in the next call, or fails if it had a whole call. Last come the full-size
searches, which continue where they stopped, as long as the calls are repeated and they last. Every
call ends with the table of all parts in table.md, and their numbers in gpu_day.json.

The parts: a search step against the plain network at batch 64 and 256, uncompiled, compiled and
recorded in CUDA graphs, with the peak of memory; the same for a training step of the published
network (C=36, L=20, batch 96), with images per second; every strategy and every selector for two
rounds in fp32 and uncompiled, losses beside those of the CPU; every strategy with the defaults of
the device (bf16 and compiled), losses finite; DARTS, DARTS-PT and SNAS in NAS-Bench-201, for which
the data are downloaded unless `--root` has them. The exit status is 75 while parts are left, then 1
if any has failed.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).resolve().parent
LEFT = 75
"""Exit status while parts are left, and that of nasrun when its hours are spent."""
RESERVE = 15.0
"""Seconds that a call keeps for its end."""
SMALL = ["rounds=2", "width=2", "depth=3", "batch_size=16", "images=64"]
CELLS = ["space.nodes=1", "space.kept_edges=1"]
SERIAL = ["engine=serial"]
MORE = ([*CELLS, *SERIAL], SERIAL, CELLS, [])
"""Words of which a strategy takes the first that have an effect on it."""
WITH = ("darts", "evolution", "nsga2", "random", "autokeras", "pbtnas")
"""Strategies for a selector, of which it takes the first that it accepts."""

DRAWN_THERE = ("drnas", "pbtnas", "pbt_mutation", "pbt_random")
"""Strategies that draw from the GPU's own generator, so that their losses are not the CPU's.

The first draws mixtures, the others train GANs with dropout.
"""
FP32 = ["budget.precision=fp32", "budget.compile=false"]

CLOSE = 1e-2
"""Largest relative difference of a loss from the CPU's. In fp32 another order of sums changes the
first step by about 1e-6, and training magnifies that to about 1e-2 in 20 steps (docs/scale.md);
two rounds have 4 to 16 steps. A wrong operation changes a loss by far more."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """One check or measurement: `work` writes into a folder of its own and returns its numbers.

    `None` means that it is not finished and continues in the next call.
    """

    name: str
    work: Callable[[Path, float], Record | None]
    goes_on: bool = False


def main() -> int:
    arguments = parse()
    begun = time.monotonic()
    deadline = begun + 60 * arguments.minutes - RESERVE
    outputs = Path(arguments.outputs).resolve()
    outputs.mkdir(parents=True, exist_ok=True)
    found = parts(arguments)
    if arguments.again:
        for part in found:
            if part.name.startswith(arguments.again):
                (outputs / f"{part.name}.json").unlink(missing_ok=True)
    first, left = True, False
    wanted = [part for part in found if part.name.startswith(arguments.only)]
    if not wanted:
        raise SystemExit(f"--only {arguments.only}: no part has such a name; see {__file__}")
    for part in wanted:
        file = outputs / f"{part.name}.json"
        if file.exists():
            continue
        if time.monotonic() >= deadline:
            left = True
            break
        done = finished(part, outputs / part.name, deadline, whole=first)
        first = False
        if done is None:
            left = True
            break
        file.write_text(json.dumps(done, indent=1) + "\n")
        print(row(part.name, done), flush=True)
    records = report(outputs, found)
    if left:
        return LEFT
    return int(any("failed" in records[part.name] for part in wanted))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--outputs", default="gpu_day", help="the folder of all results")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--minutes", type=float, default=9, help="the most that a call takes")
    parser.add_argument("--root", help="a folder with CIFAR-10")
    parser.add_argument("--again", help="repeat the parts whose names begin so")
    parser.add_argument("--only", default="", help="only the parts whose names begin so")
    parser.add_argument("--tiny", action="store_true", help="a few parts, small, to try this out")
    return parser.parse_args()


def parts(arguments: argparse.Namespace) -> list[Part]:
    """Return all parts, in the order in which they run."""
    return [*benchmarks(arguments), *checks(arguments), *searches(arguments)]


def benchmarks(arguments: argparse.Namespace) -> list[Part]:
    """Return the parts that measure the time and memory of steps."""
    device, tiny, found = arguments.device, arguments.tiny, []
    size = ["--device", device, "--repeats", "1" if tiny else "20"]
    if tiny:
        size += ["--channels", "2", "--layers", "3", "--size", "16", "--threads", "1"]
    batches = (4,) if tiny else (64, 256)
    ways: list[list[str]] = [["--precision", "fp32"]]
    if not tiny:
        ways += [
            ["--precision", "bf16", *how] for how in ([], ["--compile"], ["--compile", "graphs"])
        ]
    for batch in batches:
        for way in ways:
            name = named("bench_search", batch, way)
            words = [*size, "--batch", str(batch), *way]
            if tiny:
                words += ["--space", "nasbench201", "--time-only"]
            found.append(Part(name, measured("bench_supernet", words, batch)))
    batch = 4 if tiny else 96
    for way in ways:
        name = named("bench_retrain", batch, way)
        words = [*size, "--batch", str(batch), *way]
        words += ["--genotype", "nb201_resnet"] if tiny else ["--channels", "36", "--layers", "20"]
        found.append(Part(name, measured("bench_retrain", words, batch)))
    return found


def checks(arguments: argparse.Namespace) -> list[Part]:
    """Return the parts that look at the losses of two rounds."""
    from nasrun.config import options

    device, strategies, selectors = arguments.device, ["darts"], []
    if not arguments.tiny:
        strategies = [name for name in options("strategy", []) if name[0] != "_"]
        selectors = [name for name in options("selector", []) if name[0] != "_"]
    found = [Part(f"strategy_{name}", losses("search", name, None, device)) for name in strategies]
    found += [Part(f"selector_{name}", losses("run", None, name, device)) for name in selectors]
    found += [Part(f"default_{name}", finite_losses(name, device)) for name in strategies]
    return found


def searches(arguments: argparse.Namespace) -> list[Part]:
    """Return the searches of full size."""
    if arguments.tiny:
        return []
    data = ["dataset.download=true"]
    data = data if arguments.root is None else [f"dataset.root={arguments.root}"]
    found = []
    for name, words in (
        ("darts", ["experiment=nb201_darts"]),
        ("darts_pt", ["experiment=nb201_darts_pt"]),
        ("snas", ["experiment=nb201_darts", "strategy=snas"]),
    ):
        work = searched([*words, *data], arguments.device)
        found.append(Part(f"nb201_{name}", work, goes_on=True))
    return found


def named(script: str, batch: int, way: list[str]) -> str:
    """Return the name of a benchmark's part: its precision, and how it compiles."""
    return "_".join([script, str(batch), *(word.removeprefix("--") for word in way[1:])])


def finished(part: Part, folder: Path, deadline: float, *, whole: bool) -> Record | None:
    """Run a part in a copy of this process; return its record, `None` if it is not finished.

    A crash, even of the driver, ends only that copy. A part that had a `whole` call and was cut off
    has failed, unless it goes on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    answer, start = folder / "answer.json", time.monotonic()
    answer.unlink(missing_ok=True)
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        alone(part, folder, deadline, answer)
    while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.05)
    if ended[0] == 0:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        if part.goes_on or not whole:
            return None
        return {"failed": f"not finished after {time.monotonic() - start:.0f} s"}
    if not answer.exists():
        return {"failed": f"ended with {os.waitstatus_to_exitcode(ended[1])}, see {folder}/log.txt"}
    record: Record | None = json.loads(answer.read_text())
    return record if record is None else {**record, "took_s": round(time.monotonic() - start, 1)}


def alone(part: Part, folder: Path, deadline: float, answer: Path) -> None:
    """Do a part's work, as the leader of a group of processes, and end."""
    gc.freeze()  # a copy has no threads, and would wait for ever for those of an object it deletes
    os.setsid()
    log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        answer.write_text(json.dumps(part.work(folder, deadline)))
    except BaseException as error:  # noqa: BLE001  whatever it is, it belongs in the table
        traceback.print_exc()
        line = (str(error).splitlines() or [""])[0]
        answer.write_text(json.dumps({"failed": f"{type(error).__name__}: {line}"[:300]}))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def command(*words: str) -> int:
    """Run a command of nasrun in this process; return its exit status."""
    from nasrun.cli.main import main as nasrun

    try:
        nasrun(list(words))
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def losses(
    verb: str, strategy: str | None, selector: str | None, device: str
) -> Callable[[Path, float], Record]:
    """Return the work that compares the losses of two rounds with those of the CPU.

    Those of strategies that draw on the device must only be finite.
    """
    words = [verb, *FP32]
    if verb == "run":
        words += ["stages=[search,select]", f"selector={selector}"]
    names = WITH if strategy is None else (strategy,)

    def work(folder: Path, deadline: float) -> Record:
        (name, cpu), (_, there) = (
            two_rounds(words, names, where, folder) for where in ("cpu", device)
        )
        found: Record = {"cpu": cpu, device: there}
        if len(cpu) != len(there):
            raise RuntimeError(f"{len(cpu)} losses on the CPU, {len(there)} on {device}")
        if name in DRAWN_THERE and device != "cpu":
            return found | unless_finite(there)
        far = [abs(a - b) / max(abs(a), 1e-9) for a, b in zip(cpu, there, strict=True)]
        largest = found["largest_relative_difference"] = max(far, default=None)
        if not all(each <= CLOSE for each in far):  # not a number is not close either
            found["failed"] = f"losses differ by {largest} of the CPU's, more than {CLOSE}"
        return found

    return work


def finite_losses(strategy: str, device: str) -> Callable[[Path, float], Record]:
    """Return the work that asks for finite losses of two rounds in the default arithmetic."""

    def work(folder: Path, deadline: float) -> Record:
        _, there = two_rounds(["search"], (strategy,), device, folder)
        return {device: there, **unless_finite(there)}

    return work


def two_rounds(
    words: list[str], names: tuple[str, ...], where: str, folder: Path
) -> tuple[str, list[float]]:
    """Return the first strategy of these that the command accepts, and the losses of two rounds."""
    verb, *more = words
    more += [*SMALL, "progress=false", f"budget.device={where}", "budget.threads=1"]
    for name in names:
        for effective in MORE:
            outputs = folder / "-".join([where, name, str(len(effective))])
            last = f"strategy={name}", *effective, f"outputs={outputs}"
            if not command(verb, *more, *last):
                return name, losses_of(outputs)
    raise RuntimeError("no command of this part succeeds; its log says why")


def unless_finite(found: list[float]) -> Record:
    """Return what a record says of losses that are not all finite."""
    wrong = [each for each in found if not math.isfinite(each)]
    return {"failed": f"{len(wrong)} of {len(found)} losses are not finite"} if wrong else {}


def losses_of(outputs: Path) -> list[float]:
    """Return all losses of a run's rounds, in the order of stages, rounds and names."""
    rounds = [
        json.loads(line)
        for file in sorted(outputs.glob("*/v001/**/metrics.jsonl"))
        for line in file.read_text().splitlines()
    ]
    return [
        value
        for metrics in rounds
        for key, value in metrics.items()
        if "loss" in key and isinstance(value, float)
    ]


def measured(script: str, words: list[str], batch: int) -> Callable[[Path, float], Record]:
    """Return the work that runs a benchmark and keeps its numbers."""

    def work(folder: Path, deadline: float) -> Record:
        import importlib
        import statistics

        sys.path.insert(0, str(SCRIPTS))
        file = folder / "numbers.json"
        sys.argv = [str(SCRIPTS / f"{script}.py"), *words, "--json", str(file)]
        importlib.import_module(script).main()
        numbers = json.loads(file.read_text())
        medians = {name: statistics.median(each) for name, each in numbers["seconds"].items()}
        speed = {f"{name}_images_per_s": batch / each for name, each in medians.items()}
        kept = {key: numbers[key] for key in ("gpu", "torch", "bytes", "ratio") if key in numbers}
        return {**{f"{name}_s": each for name, each in medians.items()}, **speed, **kept}

    return work


def searched(words: list[str], device: str) -> Callable[[Path, float], Record | None]:
    """Return the work that continues a whole search until a call's end."""

    def work(folder: Path, deadline: float) -> Record | None:
        hours = max(deadline - time.monotonic() - 2 * RESERVE, 0.1) / 3600
        status = command(
            *("run", *words, f"budget.device={device}", f"budget.max_hours={hours:.6f}"),
            *(f"outputs={folder}", "progress=false"),
        )
        if status == LEFT:
            return None
        if status:
            raise RuntimeError(f"exit status {status}; its log says why")
        results = sorted(folder.glob("*/v001/*/**/result.json"))
        return {str(file.relative_to(folder)): json.loads(file.read_text()) for file in results}

    return work


def report(outputs: Path, found: list[Part]) -> dict[str, Record]:
    """Write and print the table of all parts; return the records."""
    records: dict[str, Record] = {}
    for part in found:
        file = outputs / f"{part.name}.json"
        if file.exists():
            records[part.name] = json.loads(file.read_text())
        elif rounds := list((outputs / part.name).glob("*/v001/search/metrics.jsonl")):
            records[part.name] = {"rounds_so_far": len(rounds[0].read_text().splitlines())}
    lines = ["| part | result |", "|---|---|"]
    lines += [row(part.name, records.get(part.name, {"left": True})) for part in found]
    (outputs / "table.md").write_text("\n".join(lines) + "\n")
    (outputs / "gpu_day.json").write_text(json.dumps(records, indent=1) + "\n")
    print("\n".join(lines))
    return records


def row(name: str, record: Record) -> str:
    """Return a part's line of the table: its single numbers, or its failure."""
    shown = []
    for key, value in record.items():
        if isinstance(value, dict) and key == "bytes":
            shown += [f"{of} {size / 2**20:.0f} MiB" for of, size in value.items()]
        elif isinstance(value, float):
            shown.append(f"{key} {value:.4g}")
        elif not isinstance(value, (dict, list)):
            shown.append(f"{key} {value}")
    return f"| {name} | {', '.join(shown).replace('|', '/')} |"


if __name__ == "__main__":
    sys.exit(main())
