"""The groups, and the keys of a command that belong to none."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from nasrun.config.words import did_you_mean

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
    "experiment",
)
FORMER = {
    f"strategy={proposer}_{evaluator}": f"strategy={proposer} evaluator={evaluator}"
    for proposer in ("random", "evolution")
    for evaluator in ("inherited", "tabular")
}
"""Options that have become two, and the words that name them now."""
OPTIMIZERS = "optimizer"
"""The folder of optimizers, whose names take the place of a whole node."""
GENOTYPES = "genotypes"
"""The folder of published cells: by another name than the key `genotype`, or Hydra takes that key
for a group."""


@dataclass
class Frame:
    """The keys of a command that belong to no group; the groups' own keys are in their YAML."""

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
    experiment: Any = None

    def check(self) -> None:
        """ValueError for a key whose value cannot work, whatever the groups are."""
        least = {"seed": 0, "rounds": 1, "width": 2, "depth": 3, "batch_size": 2, "epochs": 1}
        for key, bound in least.items():
            if getattr(self, key) < bound:
                raise ValueError(f"{key}={getattr(self, key)}: use at least {bound}")
            if getattr(self, key) >= 2**63:
                raise ValueError(f"{key}={getattr(self, key)}: use less than 2 to the power of 63")
        if self.images is not None and self.images < 1:
            raise ValueError(f"images={self.images}: use at least 1, or null for all")
        if not 0 < self.alpha_lr < math.inf:
            raise ValueError(f"alpha_lr={self.alpha_lr}: use more than 0")
        known = ["search", "select", "retrain", "transfer"]
        for name in self.stages:
            if name not in known:
                raise ValueError(f"stages: unknown stage {name}{did_you_mean(name, known)}")
        if self.stages != known[: len(self.stages)] or not self.stages:
            raise ValueError(
                f"stages=[{','.join(self.stages)}]: a run begins with search and leaves no stage "
                f"out; one of {', '.join('[' + ','.join(known[:n]) + ']' for n in range(1, 5))}"
            )
