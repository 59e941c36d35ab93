"""Shared parts of the benchmarks: timing implementations in turns, and plain networks.

They are timed in turns because a machine's speed drifts over minutes: each pair of neighbouring
times gives one ratio, and the median of these ratios is printed.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Times:
    """The seconds of every implementation, by name, in the order of the repeats."""

    seconds: Mapping[str, list[float]]

    def median(self, name: str) -> float:
        return statistics.median(self.seconds[name])

    def ratios(self, slow: str, fast: str) -> list[float]:
        """Return how many times longer the slow implementation took, per pair."""
        return [a / b for a, b in zip(self.seconds[slow], self.seconds[fast], strict=True)]

    def ratio(self, slow: str, fast: str) -> float:
        return statistics.median(self.ratios(slow, fast))

    def line(self, name: str, per: str) -> str:
        seconds = self.seconds[name]
        return (
            f"{name:12}{self.median(name):8.3f} s {per} ({min(seconds):.3f} to {max(seconds):.3f})"
        )

    def compared(self, slow: str, fast: str) -> str:
        ratios = self.ratios(slow, fast)
        spread = f"({min(ratios):.1f} to {max(ratios):.1f} over {len(ratios)} pairs)"
        return f"{self.ratio(slow, fast):.1f}x {spread}"


def processor_seconds() -> float:
    """Return the CPU time of this process, its threads and its processes that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


CLOCKS = {"wall": time.perf_counter, "cpu": processor_seconds}


def in_turn(
    runs: Mapping[str, Callable[[], object]],
    repeats: int,
    clock: str = "wall",
    *,
    warm: int = 1,
    settle: Callable[[], object] = lambda: None,
) -> Times:
    """Run each implementation `warm` times untimed, then all in turns, `repeats` times.

    The clock `cpu` counts CPU time, whatever else the machine does; processes that a run starts
    must end within it. `settle` waits until queued work is done.
    """
    now = CLOCKS[clock]
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        for _ in range(warm):
            run()
    for _ in range(repeats):
        for name, run in runs.items():
            settle()
            start = now()
            run()
            settle()
            seconds[name].append(now() - start)
    return Times(seconds)


def add_device(made: argparse.ArgumentParser) -> None:
    """Add the options of a benchmark's device, and of our precision and compilation there."""
    made.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    made.add_argument(
        "--precision", choices=["fp32", "tf32", "bf16"], default="fp32", help="plain has no bf16"
    )
    made.add_argument(
        "--compile",
        nargs="?",
        const=True,
        default=False,
        choices=["graphs"],
        help="ours by torch.compile; with graphs, recorded in CUDA graphs",
    )


def budget(arguments: argparse.Namespace) -> Any:
    """Return the applied budget of `add_device`'s options."""
    from nasrun.budget import Budget

    made = Budget(
        device=arguments.device,
        precision=arguments.precision,
        threads=arguments.threads,
        max_hours=None,
        compile=arguments.compile,
    )
    made.apply()
    return made


def on_device(device: str) -> dict[str, Any]:
    """Return options of `in_turn`: a GPU's work is waited for, programs are compiled first."""
    import torch

    if device == "cpu":
        return {}
    return {"warm": 5, "settle": torch.cuda.synchronize}


def parser(description: str | None, *, repeats: int) -> argparse.ArgumentParser:
    """Return a parser with the options that all benchmarks have."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--repeats", type=int, default=repeats, help="measured pairs")
    made.add_argument("--json", help="a file for all numbers")
    return made


def write(arguments: argparse.Namespace, times: Times, **more: Any) -> None:
    """Write all numbers, with what they were measured with, into the file that --json names."""
    if arguments.json:
        import torch

        about = {"torch": torch.__version__, "machine": platform.processor() or platform.machine()}
        if torch.cuda.is_available():
            about["gpu"] = torch.cuda.get_device_name()
        record = {**vars(arguments), **about, "seconds": times.seconds, **more}
        Path(arguments.json).write_text(json.dumps(record, indent=1) + "\n")


def plain(network: Any, space: Any, layout: Any) -> Any:
    """Return a plain network, edge by edge, with the same weights; it is the tests' oracle."""
    sys.path.insert(0, str(ROOT / "tests"))
    from oracle import PlainDarts, PlainNasBench201

    kind = PlainNasBench201 if space.name == "nasbench201" else PlainDarts
    return kind(network, space, layers=layout.layers, stem=layout.stem, pool_norm=layout.pool_norm)
