#!/usr/bin/env python3
"""Times every training-free score, and its memory, at a published size.

    scripts/bench_scores.py                                  # NAS-Bench-201, 16 channels, 15 cells
    scripts/bench_scores.py --space darts --channels 16 --layers 8 naswot synflow
    scripts/bench_scores.py --json scores.json --clock cpu   # on a machine that others use, too

A candidate is a random architecture, the same ones for every score; its time includes building the
network. The images are digits stretched to 32 x 32 pixels, as many as the score needs. Every score
has its own process with one thread; memory is the peak above the process when the search has begun,
and by shapes what `nasrun plan` predicts.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
from pathlib import Path

import alternation

SCORES = ("params", "macs", "depth", "synflow", "naswot", "jacob_cov", "grad_norm", "snip", "zico")
SCORES += ("swap", "az_nas")


def main() -> None:
    kept = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=kept)
    parser.add_argument("names", nargs="*", default=SCORES, help="options of conf/evaluator")
    parser.add_argument("--space", default="nasbench201")
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--layers", type=int, default=15)
    parser.add_argument("--repeats", type=int, default=5, help="candidates")
    parser.add_argument("--clock", choices=list(alternation.CLOCKS), default="wall")
    parser.add_argument("--json", type=Path, help="a file for the numbers")
    parser.add_argument("--only", help="measure one score in this process")
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measured(arguments.only, arguments)))
        return
    found = {}
    print("| score | ms per candidate | peak MiB | by shapes |\n|---|---|---|---|")
    for name in arguments.names:
        own = [f"--space={arguments.space}", f"--clock={arguments.clock}", f"--only={name}"]
        own += [f"--channels={arguments.channels}", f"--layers={arguments.layers}"]
        own += [f"--repeats={arguments.repeats}"]
        done = subprocess.run([sys.executable, __file__, *own], check=True, stdout=subprocess.PIPE)
        found[name] = numbers = json.loads(done.stdout)
        print(
            f"| {name} | {numbers['ms']:.3g} ({numbers['least']:.3g} to {numbers['most']:.3g}) "
            f"| {numbers['peak']:.0f} | {numbers['foreseen']:.0f} |",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


def measured(name: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Return milliseconds and MiB of one score; the first candidate is not timed."""
    import torch

    from nasrun.budget import Budget
    from nasrun.config import build, compose, resolve
    from nasrun.context import Context
    from nasrun.streams import Streams

    torch.set_num_threads(1)
    words = [f"space={arguments.space}", f"width={arguments.channels}", "dataset.size=32"]
    words += [f"depth={arguments.layers}", "strategy=random", f"evaluator@strategy={name}"]
    config = compose(words).config
    space, dataset, task, strategy = (
        build(resolve(config[key]), key) for key in ("space", "dataset", "task", "strategy")
    )
    budget = Budget(device="cpu", precision="fp32", threads=1, max_hours=None)
    evaluator = strategy.evaluator
    task.begin(dataset, budget)
    evaluator.begin(Context(space=space, task=task, budget=budget, streams=Streams(0)))
    generator = torch.Generator().manual_seed(0)
    drawn = [space.sample(generator) for _ in range(arguments.repeats)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    now, each = alternation.CLOCKS[arguments.clock], []
    for genotype in (drawn[0], *drawn):
        start = now()
        evaluator.numbers(genotype)
        each.append(1000 * (now() - start))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    times = {"ms": statistics.median(each[1:]), "least": min(each[1:]), "most": max(each[1:])}
    return {**times, "peak": peak / 1024, "foreseen": evaluator.step_bytes() / 2**20}


if __name__ == "__main__":
    main()
