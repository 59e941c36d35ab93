"""The arithmetic of the benchmarks, with a clock that is told the time; every script's --help."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def alternation(script):
    return script("alternation")


def test_a_ratio_is_the_median_of_neighbouring_pairs(alternation):
    times = alternation.Times({"plain": [4.0, 10.0, 9.0], "fast": [2.0, 1.0, 3.0]})
    assert times.median("plain") == 9.0
    assert times.ratios("plain", "fast") == [2.0, 10.0, 3.0]
    assert times.ratio("plain", "fast") == 3.0  # not 4.5, that of the medians
    assert times.compared("plain", "fast") == "3.0x (2.0 to 10.0 over 3 pairs)"
    assert "9.000 s a step (4.000 to 10.000)" in times.line("plain", "a step")


def test_implementations_run_in_turn_and_the_first_time_unmeasured(alternation, monkeypatch):
    ran = []
    starts_and_ends = iter([0, 3, 3, 4, 4, 8, 8, 10])
    monkeypatch.setitem(alternation.CLOCKS, "wall", lambda: next(starts_and_ends))
    runs = {name: lambda name=name: ran.append(name) for name in ("plain", "fast")}
    times = alternation.in_turn(runs, repeats=2)
    assert ran == ["plain", "fast"] * 3
    assert times.seconds == {"plain": [3, 4], "fast": [1, 2]}


@pytest.mark.parametrize(
    "script", ["roofline.py", *sorted(p.name for p in SCRIPTS.glob("bench_*"))]
)
def test_every_benchmark_says_what_it_measures(script):
    command = [sys.executable, str(SCRIPTS / script), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert "--repeats" in done.stdout and "--json" in done.stdout
    assert f"scripts/{script}" in done.stdout  # an example to copy
