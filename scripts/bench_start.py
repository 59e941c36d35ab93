#!/usr/bin/env python3
"""Times short commands, each in its own process, against importing torch.

    scripts/bench_start.py
    scripts/bench_start.py --repeats 11 --json start.json

These commands are typed again and again, and none of them needs torch: the ratio says how many
times faster they are than a program that imports it before it looks at its arguments.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable

import alternation

SCALE = "import torch"
COMMANDS = {  # with their exit status
    "--help": (["--help"], 0),
    "list": (["list"], 0),
    "wrong option": (["search", "strategy=dart"], 2),
}


def main() -> None:
    arguments = alternation.parser(__doc__, repeats=5).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = {SCALE: process(["-c", "import torch"], folder, status=0)}
        for name, (words, status) in COMMANDS.items():
            runs[name] = process(["-m", "nasrun", *words], folder, status=status)
        times = alternation.in_turn(runs, arguments.repeats)
    print(times.line(SCALE, ""))
    for name in COMMANDS:
        print(f"{times.line(name, '')}, {times.compared(SCALE, name)}")
    ratios = {name: times.ratio(SCALE, name) for name in COMMANDS}
    alternation.write(arguments, times, ratio=ratios)


def process(words: list[str], folder: str, *, status: int) -> Callable[[], None]:
    """Run the interpreter with these words and wait; it must end as expected."""

    def run() -> None:
        done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True)
        assert done.returncode == status, (words, done.returncode, done.stderr)

    return run


if __name__ == "__main__":
    main()
