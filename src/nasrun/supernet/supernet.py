"""The supernet: all choices of a space with their alphas, and the decisions already taken."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nasrun.genotype import NONE, Genotype
from nasrun.machine import sent
from nasrun.spaces.supernet import SupernetSpace
from nasrun.streams import Streams
from nasrun.supernet.mixture import Mixture
from nasrun.supernet.region import running
from nasrun.supernet.relaxation import Relaxation, Stream, Weights
from nasrun.supernet.stacked import StackedNetwork

Probabilities = dict[str, dict[str, float]]
Rule = Callable[[SupernetSpace, Probabilities], Genotype]


class Supernet(nn.Module):
    """A network with all candidates, one alpha vector per decision, and the decisions taken.

    A decision in `fixed` runs its one choice alone, and its alphas get no gradient. On images, the
    supernet mixes candidates by the relaxation: by a sample in training, by its mean otherwise.
    `progress` in (0, 1] is the share of the search that the running round completes; the strategy
    sets it, relaxations and levels follow it.

    With a `beta_std`, the edges into a node compete, too: every decision has a beta, and its
    weights are multiplied by the softmax of the betas of its node (PC-DARTS, 1907.05737). With
    `None`, every edge has weight one. Samples are drawn from the stream "alphas", without `streams`
    from torch's global generator.
    """

    missing: Tensor
    rivals: Tensor

    def __init__(
        self,
        space: SupernetSpace,
        network: StackedNetwork,
        relaxation: Relaxation,
        *,
        alpha_mean: float,
        alpha_std: float,
        beta_std: float | None = None,
        streams: Streams | None = None,
    ) -> None:
        super().__init__()
        self.space = space
        self.network = network
        self.relaxation = relaxation
        self.streams = streams
        self.progress = 1.0
        self.fixed: dict[str, str] = {}
        shape = (len(space.decisions), space.width)
        self.alpha = nn.Parameter(alpha_mean + alpha_std * torch.randn(shape))
        lengths = torch.tensor([len(decision.choices) for decision in space.decisions])
        has_choice = torch.arange(space.width) < lengths[:, None]
        self.register_buffer("missing", ~has_choice, persistent=False)
        self.beta: nn.Parameter | None = None
        if beta_std is not None:
            self.beta = nn.Parameter(beta_std * torch.randn(len(space.decisions)))
        nodes = [decision.node for decision in space.decisions]
        same_node = torch.tensor([[node == other for other in nodes] for node in nodes])
        self.register_buffer("rivals", same_node, persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        anew = self.training and self.relaxation.draws_per_cell
        return self.network(x, self.mixture if anew else self.mixture())

    @property
    def noise(self) -> Stream:
        """The generator of samples."""
        return None if self.streams is None else self.streams("alphas")

    def weights(self) -> list[nn.Parameter]:
        """Return the parameters that are not alphas."""
        return list(self.network.parameters())

    def alphas(self) -> list[nn.Parameter]:
        """Return the parameters of the architecture: alpha, and beta if there is one."""
        return [self.alpha] if self.beta is None else [self.alpha, self.beta]

    def edges(self) -> Tensor | None:
        """Return each edge's weight among those into its node, (decisions,); `None` for all 1."""
        if self.beta is None:
            return None
        rivals = torch.where(self.rivals, self.beta, -math.inf)  # (decisions, decisions)
        return (self.beta - torch.logsumexp(rivals, dim=-1)).exp()

    def mixture(
        self,
        *,
        without: tuple[str, str] | None = None,
        sampled: bool | None = None,
        weights: Tensor | None = None,
    ) -> Mixture:
        """Return the current weights of all candidates, decided rows one-hot.

        `sampled` chooses a sample or the mean of the relaxation; `None` samples in training mode.
        `without=(decision, choice)` takes one candidate out and leaves the weights as they are,
        without normalising again (DARTS-PT). A partial edge weights its bypass by the whole row.
        `weights` (decisions, choices) replaces the relaxation's weights.
        """
        relaxed = Weights(weights) if weights is not None else self._relaxed(sampled)
        only = relaxed.chosen
        active = [self._open_columns(row) for row in range(len(self.space.decisions))]
        if only is not None:
            active = [
                tuple(column for column in columns if column == chosen)
                for columns, chosen in zip(active, only, strict=True)
            ]
        shares = self.decided(relaxed.values)
        for decision, choice in self.fixed.items():
            row = self.space.rows[decision]
            active[row] = () if choice == NONE else (self.space.column(decision, choice),)
        if (edges := self.edges()) is not None:
            shares = shares * edges[:, None]
        if without is not None:
            decision, choice = without
            row, masked = self.space.rows[decision], self.space.column(decision, choice)
            active[row] = tuple(other for other in active[row] if other != masked)
        rest: Tensor | None = None
        adds_undrawn = relaxed.adds_undrawn
        if adds_undrawn is None:  # as in the space's released code
            adds_undrawn = self.space.adds_undrawn
        if adds_undrawn:
            assert only is not None, "adds_undrawn needs a relaxation that draws one choice"
            rest = self._undrawn(shares, only)
        return Mixture(shares, tuple(active), rest)

    def _relaxed(self, sampled: bool | None) -> Weights:
        """Return a sample of the relaxation or its mean; `None` samples in training mode."""
        if self.training if sampled is None else sampled:
            return self.relaxation.sample(self.logits, self.progress, self.noise)
        return self.relaxation.mean(self.logits)

    def _undrawn(self, weights: Tensor, drawn: Sequence[int]) -> Tensor:
        """Return the sum of the undrawn choices' weights per open decision, (decisions,)."""
        columns = sent(torch.tensor(drawn)[:, None], weights.device)
        others = torch.ones_like(weights).scatter(1, columns, 0.0)
        for decision in self.fixed:
            others[self.space.rows[decision]] = 0.0
        return (weights * others).sum(-1)

    def at(self, genotype: Genotype) -> Mixture:
        """Return the mixture that runs exactly this genotype with the supernet's weights."""
        return self.space.one_hot(genotype, self.alpha.device)

    @property
    def logits(self) -> Tensor:
        """The alphas, -inf for a choice that a decision does not have: (decisions, choices)."""
        return self.alpha.masked_fill(self.missing, -math.inf)

    def expectation(self) -> Tensor:
        """Return softmax(alpha), decided rows one-hot: the mean of sampled one-hot choices.

        It is (decisions, choices), differentiable, and the same for every relaxation.
        """
        return self.decided(torch.softmax(self.logits, -1))

    def decided(self, weights: Tensor) -> Tensor:
        """Return the weights with decided rows replaced by one-hot rows without a gradient."""
        if not self.fixed:
            return weights
        kept, chosen = torch.ones_like(weights), torch.zeros_like(weights)
        for decision, choice in self.fixed.items():
            row = self.space.rows[decision]
            kept[row] = 0.0
            if choice != NONE:
                chosen[row, self.space.column(decision, choice)] = 1.0
        return weights * kept + chosen

    def probabilities(self) -> Probabilities:
        """Return each choice's probability per decision, `none` included; 0 or 1 if decided.

        If edges have weights, a row is multiplied by its edge's weight, so that rules compare both.
        """
        with torch.no_grad():
            table_rows = torch.softmax(self.logits, -1)
            if (edges := self.edges()) is not None:
                table_rows = table_rows * edges[:, None]
            rows = table_rows.tolist()
        table = {}
        for row, decision in enumerate(self.space.decisions):
            pairs = dict(zip(decision.choices, rows[row], strict=False))
            if decision.name in self.fixed:
                pairs = {choice: float(choice == self.fixed[decision.name]) for choice in pairs}
            table[decision.name] = pairs
        return table

    def genotype(self, rule: Rule) -> Genotype:
        """Return the architecture that a rule derives from the alphas."""
        return self.space.check(rule(self.space, self.probabilities()))

    def get_extra_state(self) -> dict[str, Any]:
        return {"fixed": dict(self.fixed), "progress": self.progress}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        self.fixed = dict(state["fixed"])
        self.progress = state["progress"]

    def _open_columns(self, row: int) -> tuple[int, ...]:
        return running(self.space.decisions[row].choices)


def argmax(space: SupernetSpace, probabilities: Probabilities) -> Genotype:
    """Return the likeliest choice of each decision, `none` included: SNAS's rule (1812.09926)."""
    likeliest = {name: max(row, key=row.__getitem__) for name, row in probabilities.items()}
    absent = {name for name, row in probabilities.items() if row[likeliest[name]] == 0}  # decided
    return Genotype(space.name, likeliest | dict.fromkeys(absent, NONE))


def magnitude(space: SupernetSpace, probabilities: Probabilities) -> Genotype:
    """Return the likeliest operations on the strongest edges per node: DARTS's rule (1806.09055).

    The strength of an edge is the largest probability of an operation other than `none`, with
    `none` in the normaliser. Ties go to the earlier edge or operation.
    """
    chosen, strength = {}, {}
    for name, row in probabilities.items():
        kept = {choice: p for choice, p in row.items() if choice != NONE}
        best = max(kept, key=kept.__getitem__)
        strength[name] = kept[best]
        chosen[name] = best if strength[name] > 0 else NONE  # an edge that is decided to be absent
    for limit in space.limits:
        ranked = sorted(limit.decisions, key=lambda name: -strength[name])
        for name in ranked[limit.count :]:
            chosen[name] = NONE
    return Genotype(space.name, chosen)
