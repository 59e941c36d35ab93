"""EPNAS: progressive search with a policy that REINFORCE trains and that picks what is scored.

Zhou et al., Efficient Progressive Neural Architecture Search (1907.04648). Only its abstract is our
source: depth by depth, a policy whose performance prediction is trained by REINFORCE, several
limits on resources, candidates scored in parallel. The rest is our reading; the reward's form is
RENA's (1806.07912). Another method of that name (1808.00391) is not meant.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from nasrun.context import Context
from nasrun.costs.amounts import count_choices
from nasrun.divergence import Diverged, below
from nasrun.evaluators.base import Evaluator
from nasrun.genotype import SKIP, Genotype
from nasrun.score import Score
from nasrun.spaces.base import Space
from nasrun.spaces.supernet import SupernetSpace
from nasrun.stage import Metrics
from nasrun.strategies.controller import Controller, Rollout, entropy_of
from nasrun.strategies.distinct import distinct
from nasrun.strategies.evaluated import EvaluatedSearch
from nasrun.strategies.prefixes import Prefixes
from nasrun.tasks.base import ImageTask

DECIMALS = 9
"""Log-probabilities that agree so far are equal: their order is drawn."""


class Epnas(EvaluatedSearch):
    """A beam of prefixes that grows by a depth per round, again and again from the empty one.

    A round draws `beam` times `children` different prefixes that are one depth longer. The
    controller's likeliest `together` of them that are new are scored. It learns from the rewards
    of all that have a score, and the `beam` best of these go on. A depth at which all are known
    takes no round. The reward is the rank among them times p^V for every limit, V its excess as a
    share of it; p goes from `first_p` to `last_p` geometrically. So architectures over a limit are
    scored, but they are no result while one within all limits is.
    """

    searches: tuple[type[Space], ...] = (SupernetSpace,)

    def __init__(
        self,
        *,
        num_candidates: int,
        together: int,
        beam: int,
        children: int,
        controller: Controller,
        first_p: float,
        last_p: float,
        evaluator: Evaluator,
    ) -> None:
        super().__init__(num_candidates=num_candidates, together=together, evaluator=evaluator)
        if not 1 <= beam <= together:
            raise ValueError(
                f"beam={beam} together={together}: use a beam of 1 or more, at most together, "
                "else nothing is left out"
            )
        if beam * children < together:
            raise ValueError(
                f"beam={beam} children={children} together={together}: use {-(-together // beam)} "
                "children or more, else there is nothing to choose from"
            )
        if not 0 < last_p <= first_p <= 1:
            raise ValueError(
                f"first_p={first_p} last_p={last_p}: use more than 0 and at most 1, the last at "
                "most the first"
            )
        self.beam = beam
        self.children = children
        self.controller = controller
        self.first_p = first_p
        self.last_p = last_p

    def begin(self, context: Context[Any, ImageTask]) -> None:
        super().begin(context)
        if context.space.none_is_a_choice and context.space.limits:
            raise ValueError(
                f"space={context.space.name}: an edge may choose none, and a limit drops edges, "
                "too; EPNAS cannot tell the two apart; use strategy=evolution"
            )
        self.prefixes = Prefixes(context.space, _params(context))
        self.controller.begin(self.prefixes.alive)
        self._restart()

    def _restart(self) -> None:
        self._depth, self._beam = 0, self.prefixes.empty

    def propose(self, count: int) -> list[Genotype]:
        for _ in range(self.prefixes.depth):
            self._drawn = self._ranked()
            known = self._known
            drawn = self.prefixes.genotypes(self._drawn)
            if new := [genotype for genotype in drawn if genotype not in known][:count]:
                return new
            self.learn()
        self._drawn = self._drawn[:0]  # nothing new is within reach
        return [self.within_limits(self.space.sample(self.stream)) for _ in range(count)]

    def _ranked(self) -> Tensor:
        """Different children of the beam, the controller's likeliest first."""
        length, each = self.prefixes.ends[self._depth], self.beam * self.children
        with torch.no_grad():
            children = distinct(
                self._next, self._beam, length, -(-each // len(self._beam)), self.stream
            )
            children = children[torch.randperm(len(children), generator=self.stream)]
            likely = self._rollout(children).log_probs.round(decimals=DECIMALS)
        return children[likely.argsort(descending=True, stable=True)]

    def _next(self, columns: Tensor) -> Tensor:
        """Return log-probabilities (N, choices) of the next choices of prefixes (N, t)."""
        logits = self.controller.conditional(columns)[:, -1].double()
        if not bool(logits.isfinite().all()):  # large weights, still finite, can do that
            with below("controller"):
                raise Diverged("the controller", {}, ["optimizer.lr"])
        return torch.log_softmax(logits + self.prefixes.uniform(columns), dim=1)

    def _rollout(self, columns: Tensor) -> Rollout:
        """Return prefixes with their log-probabilities, of all that they decide."""
        logits = self.controller.conditional(columns)[:, : columns.shape[1]]
        log_probs = self.prefixes.log_probs(logits, columns)  # (N, t, choices)
        chosen = log_probs.gather(2, columns[:, :, None])
        return Rollout(columns, chosen.sum(dim=(1, 2)), entropy_of(log_probs).sum(dim=1))

    def learn(self) -> Metrics:
        known = self._known
        genotypes = self.prefixes.genotypes(self._drawn)
        scored = [place for place, genotype in enumerate(genotypes) if genotype in known]
        if not scored:
            self._restart()
            return {}
        genotypes = [genotypes[place] for place in scored]
        rollout = self._rollout(self._drawn[scored])
        rewards = self._rewards(genotypes, [known[genotype] for genotype in genotypes])
        with below("controller"):
            self.controller.learn(rollout, rewards)
        self._depth += 1
        metrics = {"depth": float(self._depth), "reward": float(rewards.mean())}
        best = rewards.argsort(descending=True, stable=True)[: self.beam]
        self._beam = rollout.columns[best]
        if self._depth == self.prefixes.depth:
            self._restart()
        return metrics

    def _rewards(self, genotypes: Sequence[Genotype], scores: Sequence[Score]) -> Tensor:
        """Return the share of these that each is not worse than, times p^V of every limit."""
        progress = len(self.candidates) / self.num_candidates
        p = self.first_p ** (1 - progress) * self.last_p**progress
        rewards = shares([score.merit for score in scores])
        if self.limits is not None:
            excesses = [sum(self.limits.excesses(genotype).values()) for genotype in genotypes]
            rewards *= p ** torch.tensor(excesses, dtype=torch.float64)
        return rewards

    @property
    def _known(self) -> dict[Genotype, Score]:
        """The scores so far."""
        return {candidate.genotype: candidate.score for candidate in self._candidates}

    def state_dict(self) -> dict[str, Any]:
        own = {"controller": self.controller.state_dict(), "depth": self._depth, "beam": self._beam}
        return {**super().state_dict(), **own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.controller.load_state_dict(state["controller"])
        self._depth, self._beam = state["depth"], state["beam"]


def shares(merits: Sequence[float]) -> Tensor:
    """Return ranks from the worst as shares in (0, 1]; equal ones share their mean, -inf gets 0."""
    from scipy.stats import rankdata

    lost = torch.tensor(merits, dtype=torch.float64) == -math.inf
    return torch.from_numpy(rankdata(merits) / len(merits)).masked_fill(lost, 0.0)


def _params(context: Context[SupernetSpace, ImageTask]) -> Mapping[str, Mapping[str, float]]:
    """Return the parameters of every choice, if a filler needs them."""
    space, task = context.space, context.task
    if all(SKIP in space.candidates(decision) for decision in space.decisions):
        return {}
    of: dict[str, Any] = {"inputs": task.inputs, "outputs": task.outputs, "size": task.size}
    return count_choices(space, space.search_layout, **of).params.each
