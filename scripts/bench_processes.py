#!/usr/bin/env python3
"""Times the training of a published cell's network by several processes against one process.

    scripts/bench_processes.py                          # darts_v2, C=16, L=8, batch 64, 2 against 1
    scripts/bench_processes.py --processes 2 --device cuda --channels 36 --layers 20 --batch 128

Each process has one thread on a CPU, or one GPU. The commands are those that a user types, on
enlarged digits; a step's seconds are those of the rounds after the first, with their saving, and
the batch is the same for all. `shared` has batch norms per process, `synced` over the whole batch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import alternation

STEPS = 8
"""Steps per round."""


def main() -> None:
    parser = alternation.parser(__doc__, repeats=3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--genotype", default="darts_v2", help="a published cell, by name")
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--batch", type=int, default=64, help="of all processes together")
    parser.add_argument("--size", type=int, default=32, help="the images' side in pixels")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    arguments = parser.parse_args()
    many = f"budget.processes={arguments.processes}"
    kinds = {"one": [], "shared": [many], "synced": [many, "budget.sync_batch_norm=true"]}
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(arguments.repeats):
        for name, words in kinds.items():
            seconds[name].append(step(arguments, words))
    times = alternation.Times(seconds)
    for name in kinds:
        print(times.line(name, "a step"))
    for name in ("shared", "synced"):
        print(f"{name}: {times.ratio('one', name):.2f}x one process")
    ratios = {name: times.ratio("one", name) for name in ("shared", "synced")}
    alternation.write(arguments, times, ratio=ratios)


def step(arguments: argparse.Namespace, words: list[str]) -> float:
    """Return the seconds of a step of a retraining with these words."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "nasrun", "retrain", f"genotype={arguments.genotype}"]
        command += ["dataset=digits", f"dataset.size={arguments.size}", f"outputs={folder}"]
        command += [f"images={STEPS * arguments.batch}", f"retrain.epochs={arguments.rounds}"]
        command += ["retrain=cifar", f"retrain.batch_size={arguments.batch}"]
        command += [f"retrain.channels={arguments.channels}", f"retrain.layers={arguments.layers}"]
        command += [f"budget.device={arguments.device}", "budget.threads=1", *words]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, (command, done.stderr)
        (timing,) = Path(folder).glob("*/v001/retrain/*/timing.jsonl")
        rounds = [json.loads(line)["seconds"] for line in timing.read_text().splitlines()]
    return statistics.median(rounds[1:]) / STEPS


if __name__ == "__main__":
    main()
