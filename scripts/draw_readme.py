#!/usr/bin/env python3
"""Draws the pictures of the README: two searches on the embedded digits, and the table of runs.

scripts/draw_readme.py             # some minutes on two cores; writes docs/pictures/
scripts/draw_readme.py FOLDER      # the runs lie there, and what is finished is not run again
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "pictures"
NASRUN = (sys.executable, "-m", "nasrun")
SCALE = ("rounds=8", "width=4", "depth=3", "images=600", "space.nodes=3", "budget.threads=1")
SCALE += ("stages=[search,select,retrain]", "retrain.epochs=6", "retrain.channels=8")
SCALE += ("retrain.layers=3", "retrain.auxiliary=false", "progress=false")
STRATEGIES = ("darts", "milenas")
WIDTH = 100
"""Width of the table in characters."""


def main() -> int:
    if len(sys.argv) > 1:
        draw(Path(sys.argv[1]))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder))
    return 0


def draw(folder: Path) -> None:
    """Run the missing commands in a folder, and write the pictures."""
    runs = [
        subprocess.Popen([*NASRUN, "run", f"strategy={strategy}", *SCALE], cwd=folder)
        for strategy in STRATEGIES
    ]
    if any(run.wait() for run in runs):
        raise SystemExit("a run failed; read its error above")
    PICTURES.mkdir(parents=True, exist_ok=True)
    run = folder / "outputs" / "digits-darts-milenas" / "v001"
    shutil.copy(run / "select" / "magnitude" / "cells.svg", PICTURES / "cells.svg")
    shutil.copy(run / "search" / "search.png", PICTURES / "search.png")
    listed = subprocess.run(
        [*NASRUN, "list", "runs"],
        cwd=folder,
        env={**os.environ, "COLUMNS": str(WIDTH)},
        capture_output=True,
        text=True,
        check=True,
    )
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(Text(listed.stdout.rstrip()))
    picture = console.export_svg(title="nasrun list runs", unique_id="runs")
    plain = re.sub(
        r" *@font-face \{.*?\n    \}\n", "", picture, flags=re.DOTALL
    )  # they lie elsewhere
    (PICTURES / "runs.svg").write_text(plain)


if __name__ == "__main__":
    sys.exit(main())
