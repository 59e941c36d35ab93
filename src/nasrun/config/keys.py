"""The groups of a configuration, and its keys that belong to no group."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from nasrun.refusing import refuse_below

GROUPS = (
    "space",
    "strategy",
    "evaluator",
    "selector",
    "dataset",
    "task",
    "budget",
    "engine",
    "retrain",
    "transfer",
    "tracker",
    "experiment",
)
TRACKER = "tracker"
"""The group of trackers; `NASRUN_TRACKER` names those of commands that choose none."""
LISTED = (TRACKER, "experiment")
"""Groups of which a command chooses any number of options."""
FORMER = {
    f"strategy={proposer}_{evaluator}": f"strategy={proposer} evaluator={evaluator}"
    for proposer in ("random", "evolution")
    for evaluator in ("inherited", "tabular")
}
"""Former options that are two choices now, and the words that name both."""
OPTIMIZERS = "optimizer"
"""The folder of optimizers, whose names can replace a whole node."""
GENOTYPES = "genotypes"
"""The folder of published cells. Its name is not that of the key `genotype`, which Hydra would take
for a group."""


ROOT = "dataset.root"
"""The key of the place of the data, which may be moved."""
TABLE = "space.table"
"""The key of a benchmark's table, which may be moved, too."""


@dataclass
class Frame:
    """The keys that belong to no group; the keys of a group are in its YAML."""

    seed: int = 0
    stages: list[str] = field(default_factory=list)
    baseline: bool = True
    discretisation: bool = True
    outputs: str = "outputs"
    run: str | None = None
    extend: bool = False
    genotype: str | None = None
    progress: bool = True
    rounds: int = 1
    width: int = 2
    depth: int = 3
    batch_size: int = 2
    alpha_lr: float = 0.0
    images: int | None = None
    epochs: int = 1
    space: Any = None
    strategy: Any = None
    selector: Any = None
    dataset: Any = None
    task: Any = None
    budget: Any = None
    engine: Any = None
    retrain: Any = None
    transfer: Any = None
    tracker: Any = None
    experiment: Any = None

    def check(self) -> None:
        """Raise ValueError for a value that no choice of groups can use."""
        least = {"seed": 0, "rounds": 1, "width": 2, "depth": 3, "batch_size": 2, "epochs": 1}
        refuse_below(self, **least)
        for key in least:
            if getattr(self, key) >= 2**63:
                raise ValueError(f"{key}={getattr(self, key)}: use less than 2 to the power of 63")
        for key in ("outputs", "run", "genotype"):
            if getattr(self, key) == "":  # as of a variable that the shell does not know
                raise ValueError(f"{key}=: is empty; give a value or leave it out")
        if self.images is not None and self.images < 1:
            raise ValueError(f"images={self.images}: use at least 1, or null for all")
        if not 0 < self.alpha_lr < math.inf:
            raise ValueError(f"alpha_lr={self.alpha_lr}: use more than 0")
