#!/usr/bin/env python3
"""Compares what `nasrun plan` predicts with what the same run needs.

    scripts/check_plan.py                  # all runs below, on one thread
    scripts/check_plan.py darts scaled     # these

Each run is planned and then run, in its own process and an empty folder. All seconds are CPU
seconds, so that other work on the machine does not count. Prints a row per stage: predicted (~ if
scaled up from steps on fewer images), measured, and the ratio of both; and the seconds of the plan
itself.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = {
    "darts": ["stages=[search,select,retrain]", "baseline=false"],
    "random": [
        *("strategy=random", "space=nasbench201", "stages=[search,select]", "engine=serial"),
        *("strategy.num_candidates=8", "strategy.together=4", "strategy.evaluator.epochs=3"),
    ],
    "perturb": [
        *("space=darts_s3", "method=perturb", "stages=[search,select]", "rounds=3"),
        *("space.nodes=2", "selector.interval=2"),
    ],
    "scaled": [
        *("stages=[search,select]", "dataset=mnist5k", "images=1000", "width=16", "depth=8"),
        *("rounds=1", "discretisation=false"),
    ],
}


def main() -> int:
    if sys.argv[1:2] == ["--one"]:
        return one(sys.argv[2], RUNS[sys.argv[3]])
    print(f"{'run':10}{'stage':10}{'predicted, s':>12}{'taken, s':>10}{'ratio':>7}{'plan, s':>9}")
    for name in sys.argv[1:] or RUNS:
        plan, run = (asked(what, name) for what in ("plan", "run"))
        for stage, (seconds, scaled) in plan["stages"].items():
            about = f"{'~' if scaled else ''}{seconds:.1f}"
            ratio = seconds / run[stage]
            print(f"{name:10}{stage:10}{about:>12}{run[stage]:10.1f}{ratio:7.2f}"
                  f"{plan['took']:9.1f}", flush=True)  # fmt: skip
    return 0


def asked(what: str, name: str) -> dict:
    """Return the answer of a separate process."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, Path(__file__).resolve(), "--one", what, name]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def one(what: str, words: list[str]) -> int:
    """Plan or run, and return CPU seconds."""
    time.perf_counter = time.monotonic = time.process_time
    from nasrun.cli.line import Line
    from nasrun.cli.prepared import plan_of

    words = [*words, "budget.threads=1", "budget.device=cpu", "progress=false"]
    plan = plan_of(Line.parse("run", words, only_foreseen=what == "plan"), None)
    if what == "plan":
        from nasrun.pipeline import notes
        from nasrun.pipeline.foresight import foresee

        notes.read = lambda note: None
        notes.write = lambda note, outlook: None
        stages = foresee(plan, lambda text: None).stages
        found = {each.stage: (3600 * each.hours, each.scaled) for each in stages}
        print(json.dumps({"stages": found, "took": time.process_time()}))
        return 0
    from rich.console import Console

    from nasrun.pipeline.execution import execute

    with open("log", "w") as log:
        _, folders = execute(plan, Console(file=log))
    print(json.dumps({folder.kind: folder.result["seconds"] for folder in folders}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
