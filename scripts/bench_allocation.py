#!/usr/bin/env python3
"""Times a search that keeps freed memory against one that leaves it to the C library.

    scripts/bench_allocation.py space=darts_s2 rounds=1
    scripts/bench_allocation.py --repeats 5 strategy=snas dataset=cifar10 dataset.root=DIR rounds=2

The words are those of `nasrun search`, which is run each time in its own process: the start, the
loader, the optimizers and the validation are included. Only glibc is configured
(`nasrun.machine.allocate`); with another C library both searches are equal.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
from collections.abc import Callable

import alternation

PROGRAM = "import nasrun.budget, nasrun.cli.main; {}; nasrun.cli.main.main()"
SIDES = {"left": "nasrun.budget.allocate = lambda **_: None", "kept": "pass"}


def main() -> None:
    parser = alternation.parser(__doc__, repeats=3)
    parser.add_argument("words", nargs="+", help="of `nasrun search`")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = {
            name: search(PROGRAM.format(change), arguments.words, f"{folder}/{name}")
            for name, change in SIDES.items()
        }
        times = alternation.in_turn(runs, arguments.repeats)
    for name in SIDES:
        print(times.line(name, "a search"))
    ratios = times.ratios("left", "kept")
    print(f"{times.ratio('left', 'kept'):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})")
    alternation.write(arguments, times, ratio=times.ratio("left", "kept"))


def search(program: str, words: list[str], folder: str) -> Callable[[], None]:
    """Run the search in a new subfolder and wait."""
    number = itertools.count()

    def run() -> None:
        command = ["search", *words, f"outputs={folder}/{next(number)}"]
        whole = [sys.executable, "-c", program, *command]
        subprocess.run(whole, stdout=subprocess.DEVNULL, check=True)

    return run


if __name__ == "__main__":
    main()
