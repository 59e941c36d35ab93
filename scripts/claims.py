#!/usr/bin/env python
"""Measure what the papers claim, on real CIFAR-10 at a scale that two CPU cores can afford.

    scripts/claims.py run --cifar CIFAR --table CSV      searches and selections that are missing
    scripts/claims.py tables --cifar CIFAR --table CSV   what is finished so far, as Markdown

`run` goes seed by seed, so that whatever is finished is paired. Every job is a `nasrun` command;
it continues where it was stopped, and a finished one is skipped. CIFAR is a folder that
`dataset=cifar10` reads, CSV a NAS-Bench-201 table (scripts/nasbench201_csv.py), which is read for
the tables only.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCALE = ["dataset=cifar10", "task.share=0.2", "width=8", "depth=6", "space.stem=cifar_half"]
"""10,000 images (5,000 train weights), 16 x 16 pixels after the stem, 8 channels, 6 cells."""
FLOOR = 0.5
"""A seed counts once its supernet has this validation accuracy."""


@dataclass(frozen=True)
class Supernet:
    """A search and the selectors that read it."""

    space: str
    strategy: str
    selectors: tuple[str, ...]
    settings: tuple[str, ...] = ()

    def outputs(self, root: Path, seed: int) -> Path:
        """The folder of this search's runs with this seed."""
        return root / f"seed{seed}"

    def run(self, root: Path, seed: int) -> Path:
        """The run's folder."""
        return self.outputs(root, seed) / f"cifar10-{self.space}-{self.strategy}" / "v001"

    def commands(self, root: Path, seed: int, cifar: str) -> Iterator[list[str]]:
        """The search, then each selection on it."""
        where = [f"outputs={self.outputs(root, seed)}", "budget.threads=1"]
        yield [
            *("search", f"space={self.space}", f"strategy={self.strategy}", f"seed={seed}"),
            *(*SCALE, f"dataset.root={cifar}", *self.settings, *where),
        ]
        for selector in self.selectors:
            name, *settings = selector.split()
            yield ["select", f"selector={name}", *settings, f"run={self.run(root, seed)}", where[1]]
