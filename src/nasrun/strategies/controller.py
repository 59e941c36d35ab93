"""Controllers draw architectures, and learn from rewards which choices to draw more often.

`Reinforce` is REINFORCE with a moving-average baseline and an entropy bonus. `Factorised` has one
independent distribution per decision; `Recurrent` is the LSTM of ENAS (1802.03268), which sees the
previous decisions. Columns and rows are those of the space's mixtures; only choices alive are
drawn.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nasrun.divergence import Diverged, finite
from nasrun.streams import seeded
from nasrun.tasks.base import OptimizerFactory

DRAWS = 1000
"""The number of draws from which the marginals of a recurrent controller are estimated."""


LSTMState = tuple[Tensor, Tensor]
"""The state (h, c) of an LSTM, each (count, hidden)."""


class Rollout(NamedTuple):
    """N architectures: `columns` (N, decisions), `log_probs` (N,), `entropies` (N,), nats."""

    columns: Tensor
    log_probs: Tensor
    entropies: Tensor


class Controller(ABC):
    """Draws architectures; the constructor takes settings, `begin` decisions and choices."""

    alive: Tensor
    """(decisions, choices), true where a choice may be drawn."""

    @abstractmethod
    def begin(self, alive: Tensor) -> None:
        """Begin with the choices of a mask (decisions, choices)."""

    @abstractmethod
    def draw(self, count: int, generator: torch.Generator | None = None) -> Rollout:
        """Draw this many architectures independently, by a CPU generator or torch's global one."""

    @abstractmethod
    def conditional(self, columns: Tensor) -> Tensor:
        """Return logits (N, t + 1, choices) of each decision and the next, given those before.

        columns: (N, t), the choices of the first t decisions; if these are all decisions, no other
        is next, and logits are (N, t, choices). Choices that are not alive have logits too.
        """

    @abstractmethod
    def learn(self, rollout: Rollout, rewards: Tensor) -> None:
        """Make well rewarded choices likelier; rewards (N,)."""

    @abstractmethod
    def marginals(self) -> Tensor:
        """Return the probabilities of the choices alive (decisions, choices); rows sum to one."""

    @abstractmethod
    def follow(self, probabilities: Tensor, mu: float) -> None:
        """Move by mu in [0, 1] towards other probabilities (decisions, choices).

        Choices with probability zero are left out: their total probability does not change.
        """

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything on which the next draw and the next lesson depend."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from such a state."""


class Policy(nn.Module, ABC):
    """Differentiable probabilities of choices, one decision after the other."""

    @abstractmethod
    def build(self, decisions: int, choices: int) -> None:
        """Create the parameters for `decisions` decisions with at most `choices` choices each."""

    @abstractmethod
    def roll(
        self, count: int, alive: Tensor, prior: Tensor, generator: torch.Generator | None
    ) -> Rollout:
        """Draw `count` architectures; `prior` (decisions, choices) is added to the logits."""

    @abstractmethod
    def conditional(self, columns: Tensor) -> Tensor:
        """Return the same as `Controller.conditional`, without a prior."""

    @abstractmethod
    def marginals(self, alive: Tensor, prior: Tensor) -> Tensor:
        """Return the probability of each choice."""


class Reinforce(Controller):
    """A policy that ascends E[(R - baseline) grad ln p] + `entropy_weight` grad H.

    The baseline is a moving average of rewards that keeps `baseline_decay` of its past; one update
    uses all draws of a rollout.
    """

    def __init__(
        self,
        *,
        policy: Policy,
        optimizer: OptimizerFactory,
        baseline_decay: float,
        entropy_weight: float,
    ) -> None:
        if not 0 <= baseline_decay < 1:
            raise ValueError(f"baseline_decay={baseline_decay}: use 0 or more, but less than 1")
        if entropy_weight < 0:
            raise ValueError(f"entropy_weight={entropy_weight}: use 0 or more")
        self.policy = policy
        self.factory = optimizer
        self.baseline_decay = baseline_decay
        self.entropy_weight = entropy_weight

    def begin(self, alive: Tensor) -> None:
        self.alive, self.prior = alive, torch.zeros(alive.shape)
        self.policy.build(*alive.shape)
        self.optimizer = self.factory(self.policy.parameters())
        self.baseline: float | None = None

    def draw(self, count: int, generator: torch.Generator | None = None) -> Rollout:
        return self.policy.roll(count, self.alive, self.prior, generator)

    def conditional(self, columns: Tensor) -> Tensor:
        logits = self.policy.conditional(columns)
        return logits + self.prior[: logits.shape[1]]

    def learn(self, rollout: Rollout, rewards: Tensor) -> None:
        mean = float(rewards.mean())
        if self.baseline is None:
            self.baseline = mean
        advantages = rewards - self.baseline
        gained = (advantages * rollout.log_probs).mean()
        loss = -gained - self.entropy_weight * rollout.entropies.mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        losses = {"loss": loss.item()}
        if not finite(losses, self.policy):
            raise Diverged("the controller", losses, ["optimizer.lr"])
        self.baseline += (1 - self.baseline_decay) * (mean - self.baseline)

    @torch.no_grad()
    def marginals(self) -> Tensor:
        return self.policy.marginals(self.alive, self.prior)

    @torch.no_grad()
    def follow(self, probabilities: Tensor, mu: float) -> None:
        """Return ln q' = (1 - mu) ln q + mu ln p where p > 0; the total of q over these stays.

        The baseline begins anew, since the shared weights are others.
        """
        meant = (probabilities > 0) & self.alive
        least = 1 / DRAWS  # estimated marginals do not resolve less
        q = self.marginals().clamp(min=least)
        log_q = torch.log_softmax(q.log().masked_fill(~meant, -math.inf), dim=1)
        log_p = probabilities.clamp(min=least).log()
        log_mixed = ((1 - mu) * log_q + mu * log_p).masked_fill(~meant, -math.inf)
        change = torch.log_softmax(log_mixed, dim=1) - log_q
        self.prior += change.masked_fill(~meant, 0.0)
        self.baseline = None

    def state_dict(self) -> dict[str, Any]:
        return {
            "policy": self.policy.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "alive": self.alive,
            "prior": self.prior,
            "baseline": self.baseline,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.policy.load_state_dict(state["policy"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.alive, self.prior = state["alive"], state["prior"].clone()
        self.baseline = state["baseline"]


class Factorised(Policy):
    """One independent categorical distribution per decision, uniform at first."""

    def __init__(self) -> None:
        super().__init__()

    def build(self, decisions: int, choices: int) -> None:
        self.logits = nn.Parameter(torch.zeros(decisions, choices))

    def _log_probs(self, alive: Tensor, prior: Tensor) -> Tensor:
        return torch.log_softmax((self.logits + prior).masked_fill(~alive, -math.inf), dim=1)

    def roll(
        self, count: int, alive: Tensor, prior: Tensor, generator: torch.Generator | None
    ) -> Rollout:
        log_probs = self._log_probs(alive, prior)  # (decisions, choices)
        columns = _columns(log_probs, count, generator).T
        chosen = log_probs.expand(count, -1, -1).gather(2, columns[:, :, None])
        return Rollout(columns, chosen.sum(dim=(1, 2)), entropy_of(log_probs).sum().expand(count))

    def conditional(self, columns: Tensor) -> Tensor:
        return self.logits[: columns.shape[1] + 1].expand(len(columns), -1, -1)

    def marginals(self, alive: Tensor, prior: Tensor) -> Tensor:
        return self._log_probs(alive, prior).exp()


def _columns(log_probs: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Draw columns (rows, count) from the distributions of the rows, (rows, choices)."""
    p = log_probs.detach().exp()
    if not bool(p.isfinite().all()):  # large weights, though finite, can cause this
        raise Diverged("the controller", {}, ["optimizer.lr"])
    return torch.multinomial(p, count, replacement=True, generator=generator)


class Recurrent(Policy):
    """An LSTM that reads its last choice: logits = `tanh_constant` tanh(Wh / `temperature`)."""

    def __init__(self, *, hidden: int, temperature: float, tanh_constant: float) -> None:
        super().__init__()
        if hidden < 1:
            raise ValueError(f"hidden={hidden}: use at least 1")
        if not temperature > 0 or not tanh_constant > 0:
            raise ValueError(
                f"temperature={temperature} tanh_constant={tanh_constant}: use more than 0 for both"
            )
        self.hidden = hidden
        self.temperature = temperature
        self.tanh_constant = tanh_constant

    def build(self, decisions: int, choices: int) -> None:
        self.cell = nn.LSTMCell(self.hidden, self.hidden)
        self.first = nn.Parameter(0.1 * torch.randn(self.hidden))
        self.embedding = nn.Embedding(decisions * choices, self.hidden)
        self.readout = nn.Linear(self.hidden, choices)
        self.decisions, self.choices = decisions, choices

    def roll(
        self, count: int, alive: Tensor, prior: Tensor, generator: torch.Generator | None
    ) -> Rollout:
        x, state = self._start(count)
        columns, log_prob, entropy = [], x.new_zeros(count), x.new_zeros(count)
        for row in range(len(alive)):
            logits, state = self._step(x, state)
            logits = (logits + prior[row]).masked_fill(~alive[row], -math.inf)
            log_probs = torch.log_softmax(logits, dim=1)  # (count, choices)
            column = _columns(log_probs, 1, generator)
            log_prob = log_prob + log_probs.gather(1, column)[:, 0]
            entropy = entropy + entropy_of(log_probs)
            columns.append(column[:, 0])
            x = self._read(row, column[:, 0])
        return Rollout(torch.stack(columns, dim=1), log_prob, entropy)

    def conditional(self, columns: Tensor) -> Tensor:
        x, state = self._start(len(columns))
        found = []
        for row in range(min(columns.shape[1] + 1, self.decisions)):
            logits, state = self._step(x, state)
            found.append(logits)
            if row < columns.shape[1]:
                x = self._read(row, columns[:, row])
        return torch.stack(found, dim=1)

    def _start(self, count: int) -> tuple[Tensor, LSTMState]:
        x = self.first.expand(count, -1)
        return x, (x.new_zeros(count, self.hidden), x.new_zeros(count, self.hidden))

    def _step(self, x: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """Return the next decision's logits (count, choices) and the new state."""
        state = self.cell(x, state)
        return self.tanh_constant * torch.tanh(self.readout(state[0]) / self.temperature), state

    def _read(self, row: int, columns: Tensor) -> Tensor:
        """Return the next input: the embedded choices of a decision."""
        embedded: Tensor = self.embedding(columns + row * self.choices)
        return embedded

    def marginals(self, alive: Tensor, prior: Tensor) -> Tensor:
        columns = self.roll(DRAWS, alive, prior, seeded(0)).columns  # (draws, decisions)
        counts = torch.zeros(alive.shape)
        counts.scatter_add_(1, columns.T, torch.ones(columns.T.shape))
        return counts / DRAWS


class Indifferent(Controller):
    """Draws uniformly and learns nothing; its random marginals give a random subspace."""

    def begin(self, alive: Tensor) -> None:
        self.alive, self.random = alive, torch.rand(alive.shape)

    def draw(self, count: int, generator: torch.Generator | None = None) -> Rollout:
        alive = self.alive.float()
        columns = torch.multinomial(alive, count, replacement=True, generator=generator).T
        nothing = torch.zeros(count)
        return Rollout(columns, nothing, nothing)

    def conditional(self, columns: Tensor) -> Tensor:
        decisions, choices = self.alive.shape
        return torch.zeros(len(columns), min(columns.shape[1] + 1, decisions), choices)

    def learn(self, rollout: Rollout, rewards: Tensor) -> None:
        """Do nothing: this controller is the baseline of a comparison."""

    def marginals(self) -> Tensor:
        kept = self.random.masked_fill(~self.alive, 0.0)
        return kept / kept.sum(1, keepdim=True)

    def follow(self, probabilities: Tensor, mu: float) -> None:
        """Do nothing."""

    def state_dict(self) -> dict[str, Any]:
        return {"alive": self.alive, "random": self.random}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.alive, self.random = state["alive"], state["random"]


def entropy_of(log_probs: Tensor) -> Tensor:
    """Return -sum p ln p over the last dimension, in nats; choices with p = 0 add nothing."""
    p = log_probs.exp()
    return -(p * log_probs.masked_fill(p == 0, 0.0)).sum(dim=-1)
