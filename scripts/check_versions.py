#!/usr/bin/env python3
"""Runs every strategy at its defaults on the lowest and the newest torch that nasrun admits.

    scripts/check_versions.py run       runs the missing searches, one after the other
    scripts/check_versions.py tables    prints the results so far, as Markdown

Each version gets its own environment below --work: the lowest torch and torchvision that
pyproject.toml admits, and the newest that pip finds (5 GB each with CUDA). Every search is `nasrun
search strategy=NAME images=N rounds=1` with seed 0, one thread and nothing else, so that last
batches are short and maps fold in some batches and not in others; a search with rounds left after a
minute ends with its current round. Strategies that propose architectures run with every evaluator
that trains. The script needs only Python. A finished search is a line of WORK/done.jsonl and is not
repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LIBRARIES = ("torch", "torchvision")
IMAGES = ("320", "400", "500", "650", "null")
"""Number of training and validation images; null is all 1,437."""
MINUTE = "budget.max_hours=0.0167"
SPENT = 75
"""nasrun's exit status when the hours are spent; all rounds so far are kept."""


def main() -> None:
    """Run the missing searches, or print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["run", "tables"])
    parser.add_argument("--work", type=Path, default=Path("outputs/versions"))
    words = parser.parse_args()
    done = words.work / "done.jsonl"
    if words.what == "run":
        words.work.mkdir(parents=True, exist_ok=True)
        for name, wanted in {"lowest": lowest(), "newest": list(LIBRARIES)}.items():
            python = environment(words.work / name, wanted)
            check(python, version(python), done)
    table(read(done))


def lowest() -> list[str]:
    """Return what pip has to install for the lowest versions that pyproject.toml admits."""
    text = (ROOT / "pyproject.toml").read_text()
    found = {name: re.search(rf'"{name}>=([\d.]+)', text) for name in LIBRARIES}
    return [f"{name}=={match[1]}" for name, match in found.items() if match is not None]


def environment(folder: Path, wanted: Sequence[str]) -> Path:
    """Return the Python of an environment with these libraries and nasrun, making it if needed."""
    python, mark = folder / "bin/python", folder / ".installed"
    if not mark.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *wanted, "-e", ROOT], check=True)
        mark.touch()
    return python.absolute()


def version(python: Path) -> str:
    """Return its version of torch."""
    asked = [python, "-c", "import torch; print(torch.__version__)"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


def strategies() -> Iterator[str]:
    """Return the words of every strategy, with each evaluator that trains if it takes one."""
    for path in sorted((ROOT / "conf/strategy").glob("[!_]*.yaml")):
        if "- /evaluator@_here_" not in path.read_text():
            yield path.stem
            continue
        for evaluator in sorted((ROOT / "conf/evaluator").glob("[!_]*.yaml")):
            if not re.search("table:|- _quick\n", evaluator.read_text()):
                yield f"{path.stem} evaluator={evaluator.stem}"


def check(python: Path, torch: str, done: Path) -> None:
    """Run the missing searches with one version."""
    before = {(row["strategy"], row["images"], row["torch"]) for row in read(done)}
    for strategy in strategies():
        for images in IMAGES:
            if (strategy, images, torch) in before:
                continue
            row = {"strategy": strategy, "images": images, "torch": torch}
            row |= search(python, [*f"strategy={strategy}".split(), f"images={images}"])
            with done.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(f"torch {torch} {strategy} images={images}: {told(row)}", flush=True)


def search(python: Path, words: Sequence[str]) -> dict[str, Any]:
    """Run a search and return its outcome: the last line of its output if it failed."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        fixed = ("rounds=1", "seed=0", "budget.threads=1", "progress=false", MINUTE)
        done = subprocess.run(
            [python, "-m", "nasrun", "search", *words, *fixed, f"outputs={folder}/outputs"],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    ended = {"status": done.returncode, "seconds": round(time.monotonic() - began, 1)}
    if done.returncode not in (0, SPENT):
        ended["error"] = (done.stderr.strip().splitlines() or [""])[-1]
    return ended


def read(done: Path) -> list[dict[str, Any]]:
    """Return the finished searches."""
    return [json.loads(line) for line in done.read_text().splitlines()] if done.exists() else []


def told(row: dict[str, Any]) -> str:
    """Return how a search ended, in words."""
    return f"failed ({row['error']})" if "error" in row else "done"


def table(rows: Sequence[dict[str, Any]]) -> None:
    """Print a row per strategy and torch, a column per number of images; then failures."""
    print("\n| strategy | torch |", *(f"{images} |" for images in IMAGES), "minutes |")
    print("|---|---|" + "---|" * (len(IMAGES) + 1))
    ended = {(row["strategy"], row["torch"], row["images"]): row for row in rows}
    for strategy, torch in dict.fromkeys((row["strategy"], row["torch"]) for row in rows):
        found = [ended.get((strategy, torch, images)) for images in IMAGES]
        cells = ["-" if row is None else "failed" if "error" in row else "done" for row in found]
        minutes = sum(row["seconds"] for row in found if row is not None) / 60
        print(f"| {strategy} | {torch} |", *(f"{cell} |" for cell in cells), f"{minutes:.1f} |")
    for row in rows:
        if "error" in row:
            print(f"\n{row['strategy']} images={row['images']} torch {row['torch']}: {told(row)}")


if __name__ == "__main__":
    main()
