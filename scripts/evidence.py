"""Shared parts of the scripts that measure claims: `nasrun` commands, and paired comparisons."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Sequence

from scipy import stats


def nasrun(command: Sequence[str]) -> bool:
    """Run a command in its own process; a failure is printed, and False returned."""
    words = [sys.executable, "-m", "nasrun", *command, "progress=false"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        print(" ".join(command), done.stderr.strip(), sep="\n", file=sys.stderr, flush=True)
    return done.returncode == 0


def compare(claim: str, names: tuple[str, str], pairs: Sequence[tuple[float, float]]) -> None:
    """Print both columns, their paired difference with its interval, and the one-sided test."""
    first, second = ([100 * pair[side] for pair in pairs] for side in (0, 1))
    print(f"\n**{claim}**\n\n| | n | mean ± std |\n|---|---|---|")
    for name, values in zip(names, (first, second), strict=True):
        print(f"| {name} | {spread(values)} |")
    difference = [a - b for a, b in zip(first, second, strict=True)]
    print(f"| {names[0]} - {names[1]} | {spread(difference)} |")
    if len(pairs) > 1 and any(difference):
        low, high = stats.ttest_rel(first, second).confidence_interval()
        p = stats.wilcoxon(difference, alternative="greater").pvalue
        print(f"\nWilcoxon, paired, one-sided: p = {p:.3f}; 95 % interval {low:.2f} to {high:.2f}")


def spread(values: Sequence[float]) -> str:
    """Return number, mean and standard deviation as text."""
    if not values:
        return "0 | -"
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{len(values)} | {statistics.fmean(values):.2f}{deviation}"
