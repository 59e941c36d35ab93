"""EN2AS (1907.09109): a supernet trains on architectures that differ from those of an archive.

Cell types are independent: each has an archive, and an architecture takes one cell of every type.
The encoding is the paper's, with one gene per decision: a real number that is rounded to the index
of a choice. The order of choices has no meaning, and distances ignore it: two choices are equal or
not. For a limit of the space (DARTS: two edges into a node), every edge has a second gene.

Where we differ from the released code: perturbed rows are clipped before they are compared; all
pairs of a cell count; every cell type moves the row that it has drawn; all rows are compared. The
archive is full before the first batch; there it is filled with the first 1,000 cells, which are
drawn uniformly, too.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from nasrun.evaluators.samplers import PathSampler
from nasrun.genotype import NONE, Genotype
from nasrun.spaces.supernet import SupernetSpace
from nasrun.stage import Metrics

DROPPED = -1
"""The index of the choice of an edge that a limit drops."""
MOST = 10_000
"""Largest number of rows of an archive; each is compared with all others once per round."""
AT_ONCE = 2**22
"""Number of pairs of choices compared in one operation."""


class Encoding:
    """The cells of one type, encoded as genes or as choices.

    A row of genes is a cell: per decision the index of its choice, which is rounded and clipped,
    then per decision under a limit its rank; the highest ranks are kept. A row of choices is
    decoded from it: integers, `DROPPED` for an edge that is not kept.
    """

    def __init__(self, space: SupernetSpace, group: str) -> None:
        self.space = space
        self.decisions = [decision for decision in space.decisions if decision.group == group]
        self.candidates = [space.candidates(decision) for decision in self.decisions]
        self.last = torch.tensor([len(each) - 1 for each in self.candidates], dtype=torch.float32)
        column = {decision.name: place for place, decision in enumerate(self.decisions)}
        self.limits = [
            (torch.tensor([column[name] for name in limit.decisions]), limit.count)
            for limit in space.limits
            if limit.group == group and limit.count < len(limit.decisions)
        ]
        self.pairs = len(column) - sum(len(columns) - count for columns, count in self.limits)

    def uniform(self, count: int, stream: torch.Generator | None = None) -> Tensor:
        """Return genes of uniformly drawn cells, (count, genes)."""
        uniform = partial(torch.rand, generator=stream)
        places = (uniform((count, len(self.decisions))) * (self.last + 1)).floor()
        ranks = [uniform((count, len(each))).argsort(1).float() for each, _ in self.limits]
        return torch.cat([torch.minimum(places, self.last), *ranks], dim=1)

    def legal(self, genes: Tensor) -> Tensor:
        """Return the genes (..., genes) with indices clipped to choices; ranks are unbounded."""
        places, ranks = genes.tensor_split([len(self.decisions)], dim=-1)
        return torch.cat([places.clamp(min=0).minimum(self.last), ranks], dim=-1)

    def choices(self, genes: Tensor) -> Tensor:
        """Decode legal genes (rows, genes) to choices (rows, decisions)."""
        places, ranks = genes.tensor_split([len(self.decisions)], dim=1)
        chosen = places.round().long()
        widths = [len(columns) for columns, _ in self.limits]
        for (columns, count), each in zip(self.limits, ranks.split(widths, 1), strict=True):
            order = each.argsort(dim=1, descending=True, stable=True)
            chosen.scatter_(1, columns[order[:, count:]], DROPPED)
        return chosen

    def distances(self, some: Tensor, others: Tensor) -> Tensor:
        """Return the share of kept (decision, choice) pairs that differ, (some, others)."""
        shared = (some[:, None] == others) & (some[:, None] != DROPPED)
        return 1 - shared.sum(-1) / self.pairs

    def genotype(self, choices: Tensor) -> dict[str, str]:
        """Return one row of choices by name."""
        return {
            decision.name: NONE if place == DROPPED else candidates[place]
            for decision, candidates, place in zip(
                self.decisions, self.candidates, choices.tolist(), strict=True
            )
        }


class Archive:
    """Cells of one type, as continuous genes, and the novelty of other cells."""

    def __init__(
        self, encoding: Encoding, size: int, neighbours: int, stream: torch.Generator | None = None
    ) -> None:
        self.encoding, self.neighbours = encoding, neighbours
        self.hold(encoding.uniform(size, stream))

    def hold(self, genes: Tensor) -> None:
        """Replace all rows."""
        self.genes, self.choices = genes.clone(), self.encoding.choices(genes)

    def novelty(self, choices: Tensor) -> Tensor:
        """Return the mean distance of cells (rows, decisions) to their nearest neighbours."""
        found = self.encoding.distances(choices, self.choices)
        return found.topk(self.neighbours, largest=False).values.mean(1)

    def mean_novelty(self) -> float:
        """Return the mean novelty of the archive's cells, each among the others."""
        total = 0.0
        for some in self.choices.split(max(1, AT_ONCE // self.choices.numel())):
            found = self.encoding.distances(some, self.choices)
            nearest = found.topk(self.neighbours + 1, largest=False).values  # first itself
            total += float(nearest.sum()) / self.neighbours
        return total / len(self.choices)

    def put(self, row: int, genes: Tensor) -> int:
        """Replace a row, and return how many of its decisions have changed."""
        before = self.choices[row].clone()
        self.genes[row] = genes
        self.choices[row] = self.encoding.choices(genes[None])[0]
        return int((self.choices[row] != before).sum())


class Archived(PathSampler):
    """Keeps one archive per cell type, of `archive` cells that are drawn uniformly at first."""

    def __init__(self, *, archive: int, neighbours: int) -> None:
        if neighbours < 1:
            raise ValueError(f"neighbours={neighbours}: use 1 or more")
        if archive <= neighbours:
            raise ValueError(
                f"archive={archive} neighbours={neighbours}: a cell is compared with the others; "
                f"use an archive of at least {neighbours + 1}"
            )
        if archive > MOST:
            raise ValueError(f"archive={archive}: all its pairs are compared; use at most {MOST}")
        self.size = archive
        self.neighbours = neighbours

    def begin(self, space: SupernetSpace, stream: torch.Generator | None = None) -> None:
        self.space = space
        self.archives = [
            Archive(Encoding(space, group), self.size, self.neighbours, stream)
            for group in space.groups
        ]

    def report(self) -> Metrics:
        mean = sum(archive.mean_novelty() for archive in self.archives) / len(self.archives)
        return {"archive_novelty": mean}

    def state_dict(self) -> dict[str, Any]:
        return {"genes": [archive.genes for archive in self.archives]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for archive, genes in zip(self.archives, state["genes"], strict=True):
            archive.hold(genes)


class Novelty(Archived):
    """A randomly drawn row theta of the archive climbs its novelty, and the cell that it is trains:

        theta <- theta + alpha / (n sigma) * sum_j N(theta + sigma eta_j) eta_j,  eta_j ~ N(0, I)

    with n = `perturbations`, N the mean distance to the `neighbours` nearest rows of the archive.
    """

    def __init__(
        self, *, archive: int, neighbours: int, perturbations: int, alpha: float, sigma: float
    ) -> None:
        super().__init__(archive=archive, neighbours=neighbours)
        if perturbations < 1:
            raise ValueError(f"perturbations={perturbations}: use 1 or more")
        for key, value in {"alpha": alpha, "sigma": sigma}.items():
            if not value > 0:
                raise ValueError(f"{key}={value}: use more than 0")
        self.perturbations = perturbations
        self.alpha = alpha
        self.sigma = sigma
        self.changed = 0

    def draw(self, stream: torch.Generator | None = None) -> Genotype:
        drawn: dict[str, str] = {}
        for archive in self.archives:
            row = int(torch.randint(self.size, (), generator=stream))
            self.changed += archive.put(row, self._climbed(archive, archive.genes[row], stream))
            drawn |= archive.encoding.genotype(archive.choices[row])
        return Genotype(self.space.name, drawn)

    def _climbed(self, archive: Archive, theta: Tensor, stream: torch.Generator | None) -> Tensor:
        """Return the row after one step of the evolution strategy."""
        encoding = archive.encoding
        eta = torch.randn(self.perturbations, len(theta), generator=stream)
        perturbed = encoding.legal(theta + self.sigma * eta)
        novelty = archive.novelty(encoding.choices(perturbed))  # (perturbations,)
        step = self.alpha / (self.perturbations * self.sigma)
        return encoding.legal(theta + step * novelty @ eta)

    def report(self) -> Metrics:
        changed, self.changed = self.changed, 0
        return {"changed_genes": float(changed), **super().report()}


class MostNovel(Archived):
    """Trains the most novel of `draws` uniform cells, and replaces the archive's oldest by it.

    EN2AS's released code calls it direct novelty search.
    """

    def __init__(self, *, archive: int, neighbours: int, draws: int) -> None:
        super().__init__(archive=archive, neighbours=neighbours)
        if draws < 2:
            raise ValueError(f"draws={draws}: use 2 or more, or evaluator=inherited for one")
        self.draws = draws
        self.oldest = 0

    def draw(self, stream: torch.Generator | None = None) -> Genotype:
        drawn: dict[str, str] = {}
        for archive in self.archives:
            genes = archive.encoding.uniform(self.draws, stream)
            best = int(archive.novelty(archive.encoding.choices(genes)).argmax())
            archive.put(self.oldest, genes[best])
            drawn |= archive.encoding.genotype(archive.choices[self.oldest])
        self.oldest = (self.oldest + 1) % self.size
        return Genotype(self.space.name, drawn)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "oldest": self.oldest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.oldest = state["oldest"]
