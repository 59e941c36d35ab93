#!/usr/bin/env python3
"""Runs the README's commands as they are written, at their real defaults, one after the other.

    scripts/check_readme.py run [--work DIR] [--images DIR]     runs the missing commands
    scripts/check_readme.py list                                lists commands to run and to skip
    scripts/check_readme.py tables                              prints results so far, as Markdown

Every `nasrun` line of a ```bash block is run in WORK, where later commands find the results of
earlier ones; `scripts/demo` is replaced by `nasrun run`. Commands that need more than this machine
has are listed and skipped: files written in capitals (DIR is replaced by --images, if given),
ImageNet, packages of the reader's own. A finished command is a line of WORK/done.jsonl and is not
repeated; an interrupted one continues.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
NEEDS = re.compile(r"\b(DIR|FOLDER|FILE|CSV|CIFAR|TINY|RUN|BENCHMARK)\b|/data/|/path/to|=mine\b")
"""Words for things that a reader has and this machine has not."""


def main() -> int:
    """Run the missing commands or list them; returns 1 if a command has failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["run", "list", "tables"])
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "nasrun-readme")
    parser.add_argument("--images", type=Path, help="a folder with a folder per class")
    words = parser.parse_args()
    commands = list(commands_of((ROOT / "README.md").read_text(), words.images))
    if words.what == "list":
        for command, needs in commands:
            print(f"{'left out, needs ' + needs if needs else 'runs':28}{command}")
        return 0
    done = words.work / "done.jsonl"
    if words.what == "run":
        words.work.mkdir(parents=True, exist_ok=True)
        run([command for command, needs in commands if not needs], words.work, done)
    records = read(done)
    print("| command | status | seconds |\n|---|---|---|")
    for record in records:
        print(f"| `{record['command']}` | {record['status']} | {record['seconds']} |")
    for command, needs in commands:
        if needs:
            print(f"| `{command}` | left out, needs {needs} | |")
    return int(any(record["status"] for record in records))


def commands_of(text: str, images: Path | None = None) -> Iterator[tuple[str, str]]:
    """Return the commands of a page in order, with what each needs that is missing here."""
    for block in re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            command = re.sub(r"\s+#.*", "", line).strip().replace("scripts/demo", "nasrun run")
            if not command.startswith("nasrun "):
                continue
            if images is not None:
                command = re.sub(r"\bDIR\b", shlex.quote(str(images.absolute())), command)
            needs = NEEDS.search(command)
            yield command, needs[0].strip("=") if needs else ""


def run(commands: Sequence[str], work: Path, done: Path) -> None:
    """Run the missing commands; a failure is printed, and the next one runs."""
    known = {record["command"] for record in read(done)}
    for command in commands:
        if command in known:
            continue
        print(f"$ {command}", flush=True)
        started = time.monotonic()
        words = shlex.split(command)[1:]
        status = subprocess.run([sys.executable, "-m", "nasrun", *words], cwd=work).returncode
        seconds = round(time.monotonic() - started, 1)
        if status < 0 or status == 130:  # ended by a signal: the next call continues it
            raise SystemExit(f"{command}: interrupted; repeat the same line to continue")
        record = {"command": command, "status": status, "seconds": seconds}
        with done.open("a") as file:
            file.write(json.dumps(record) + "\n")


def read(path: Path) -> list[dict[str, Any]]:
    """Return the finished commands."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


if __name__ == "__main__":
    sys.exit(main())
