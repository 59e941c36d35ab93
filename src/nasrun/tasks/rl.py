"""Control by DrQ-v2 (2107.09645), on pixels as published or, without its augmentation, on states.

A deterministic actor with scheduled noise, a twin critic with clipped double targets, n-step
returns. The exploration noise follows the number of steps of a member and its ancestors, so that a
copy continues where its parent was. The target of the critic is an average in the sense of
`Trained`: it is copied, never shrunk.
"""

from __future__ import annotations

import copy
import math
import statistics
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrize import cached

from nasrun.budget import Budget
from nasrun.data.environments import Environment
from nasrun.machine import sent
from nasrun.networks import ActorCritic
from nasrun.refusing import refuse_below
from nasrun.stage import Metrics
from nasrun.tasks.base import MemberLearner, OptimizerFactory, PopulationTask
from nasrun.tasks.episode import Act, earned, film, seed
from nasrun.tasks.moments import moments_of, parameters, restore_moments
from nasrun.tasks.replay import LONGEST, Replay
from nasrun.trained import Trained, state_of

LEAST = {
    "interval": 1,
    "random_steps": 0,
    "update_every": 1,
    "batch_size": 1,
    "n_step": 1,
    "noise_steps": 1,
    "pad": 0,
    "episodes": 1,
    "test_episodes": 1,
}
"""The least value of each whole number among the settings."""


@dataclass(kw_only=True, eq=False)
class Control(PopulationTask):
    """The return of an episode, by DrQ-v2; a score is the mean over `episodes` without noise.

    Lengths are in environment steps; one action makes `action_repeat` of them, a setting of the
    environment. An interval has `interval` steps, the first `random_steps` steps take uniformly
    random actions, an update follows each `update_every`-th action, and the noise falls linearly
    from `first_noise` to `last_noise` over `noise_steps`. Images are shifted by at most `pad`
    pixels, which is 0 for states. The test plays `test_episodes`. Networks compute in fp32, or on
    CUDA in TF32 unless `budget.precision` is fp32, as in DrQ-v2.
    """

    interval: int
    random_steps: int
    update_every: int
    batch_size: int
    n_step: int
    discount: float
    target_rate: float
    first_noise: float
    last_noise: float
    noise_steps: int
    noise_clip: float
    pad: int
    replay: int
    episodes: int
    test_episodes: int
    optimizer: OptimizerFactory

    learns_from = Environment
    trains = ActorCritic
    objective = tested = "return"

    def __post_init__(self) -> None:
        refuse_below(self, **LEAST)
        if self.n_step > LONGEST or self.replay <= LONGEST:
            raise ValueError(
                f"n_step={self.n_step} replay={self.replay}: use at most {LONGEST} steps, and a "
                "larger replay"
            )
        if not 0 < self.discount <= 1 or not 0 < self.target_rate <= 1:
            raise ValueError(
                f"discount={self.discount} target_rate={self.target_rate}: use more than 0 and at "
                "most 1"
            )
        if not 0 <= self.last_noise <= self.first_noise or self.noise_clip < 0:
            raise ValueError(
                f"first_noise={self.first_noise} last_noise={self.last_noise} "
                f"noise_clip={self.noise_clip}: use 0 or more, and last_noise <= first_noise"
            )

    def begin(self, dataset: Environment, budget: Budget) -> None:
        if budget.precision == "bf16":
            raise ValueError("budget.precision=bf16: agents learn in fp32; use fp32, tf32 or auto")
        self.environment, self.budget = dataset, budget
        self.shape, self.outputs = dataset.shapes()
        self.inputs = self.shape[0]
        if bool(self.pad) != dataset.pixels:
            raise ValueError(
                f"task.pad={self.pad}: {dataset.name} is observed through "
                f"{'pixels; use task=rl_pixels' if dataset.pixels else 'its state; use task=rl'}"
            )

    def check(self, network: nn.Module) -> None:
        assert isinstance(network, ActorCritic)
        seen = torch.zeros(1, *self.shape)
        try:
            with torch.no_grad():
                network.actor(network.encoder(seen))
        except RuntimeError as error:
            pixels = self.environment.pixels
            instead = f"space=drqv2 with space.encoder.size={self.shape[-1]}"
            raise ValueError(
                f"space: its encoder cannot take observations {list(self.shape)}; "
                f"use {instead if pixels else 'space=drqv2_state'}"
            ) from error

    def needs(self, network: nn.Module, members: int, intervals: int) -> str:
        kind = 1 if self.environment.pixels else 4
        frame = kind * math.prod(self.shape) / self.environment.stack
        one = self.replay * (frame + 4 * self.outputs) / 2**30
        steps = members * intervals * self.interval
        if steps < 5_000_000 and one < 1:
            return ""
        return (
            f"{steps / 1e6:.0f} million environment steps in all; a member's replay buffer takes "
            f"up to {one:.1f} GiB of memory, two to three times that while it is saved and read, "
            "and three copies of each lie on disk while an interval is trained"
        )

    def learner(self, network: nn.Module) -> DrqLearner:
        return DrqLearner(self, network)


class DrqLearner(MemberLearner):
    """An agent, its target critic, its optimizers, and the replay buffer."""

    def __init__(self, task: Control, network: nn.Module) -> None:
        assert isinstance(network, ActorCritic)
        task.budget.apply_in_process()  # a worker process has settings of its own
        self.task, self.device = task, task.budget.torch_device
        self.network = network.to(self.device)
        self.encoder, self.actor, self.critic = network.encoder, network.actor, network.critic
        self.target = copy.deepcopy(self.critic).requires_grad_(False)
        self.acting, self.judging = (parameters(self.network, name) for name in ("actor", "critic"))
        self.encoder_optimizer = task.optimizer(parameters(self.network, "encoder"))
        self.actor_optimizer = task.optimizer(self.acting)
        self.critic_optimizer = task.optimizer(self.judging)
        self.slow: list[Tensor] = list(self.target.parameters())
        self.buffers = list(self.target.buffers()), list(self.critic.buffers())
        self._kept: dict[str, Any] | None = None
        self.steps = 0
        self.returns: list[list[float]] = []

    @cached_property
    def replay(self) -> Replay:
        """The replay buffer, made on first use: it may take many GiB, and acting needs none."""
        task, seen = self.task, self.task.environment
        replay = Replay(task.replay, task.shape, task.outputs, pixels=seen.pixels, stack=seen.stack)
        if self._kept is not None:
            replay.load_state_dict(self._kept)
            self._kept = None
        return replay

    @property
    def noise(self) -> float:
        """The current standard deviation of the exploration noise."""
        task = self.task
        done = min(1.0, self.steps / task.noise_steps)
        return task.first_noise + done * (task.last_noise - task.first_noise)

    def train_interval(self) -> Metrics:
        task = self.task
        self.network.train()
        self.target.train()
        episodes = task.environment.start()
        losses: list[tuple[Tensor, Tensor]] = []
        end, over, total, actions = self.steps + task.interval, True, 0.0, 0
        while self.steps < end:
            if over:
                observation = torch.as_tensor(episodes.reset(seed()))
                self.replay.begin(observation)
                over, total = False, 0.0
            action = self._explore(observation)
            if not action.isfinite().all():  # the agent diverged, and no environment accepts this
                return {"critic_loss": math.nan, "actor_loss": math.nan}
            step = episodes.step(action.numpy())
            observation = torch.as_tensor(step.observation)
            self.replay.add(action, step.reward, step.terminated, observation)
            self.steps += task.environment.action_repeat
            actions, total, over = actions + 1, total + step.reward, step.over
            if over:
                self.returns.append([float(self.steps), total])
            if self.steps > task.random_steps and actions % task.update_every == 0:
                losses.append(self._update())
        if not losses:
            return {"critic_loss": 0.0, "actor_loss": 0.0}
        critic, actor = (torch.stack(values).mean() for values in zip(*losses, strict=True))
        return {"critic_loss": float(critic), "actor_loss": float(actor)}

    @torch.no_grad()
    def _explore(self, observation: Tensor) -> Tensor:
        if self.steps < self.task.random_steps:
            return self._random(observation[None])[0]
        mean = self._act(observation[None])[0]
        return (mean + self.noise * torch.randn(mean.shape)).clamp(-1, 1)

    @torch.no_grad()
    def _act(self, observations: Tensor) -> Tensor:
        """Return the best actions according to the actor."""
        return self.actor(self.encoder(observations.to(self.device))).cpu()

    def _update(self) -> tuple[Tensor, Tensor]:
        """Take a step of critic and encoder, then one of the actor; the target follows."""
        task = self.task
        drawn = self.replay.draw(task.batch_size, task.n_step, task.discount)
        seen, action, reward, discount, then = (sent(part, self.device) for part in drawn)
        if task.pad:
            seen, then = shifted(seen.float(), task.pad), shifted(then.float(), task.pad)
        with cached():  # of spectral norm, for both passes
            encoded = self.encoder(seen)
            with torch.no_grad():
                after = self.encoder(then)
        with torch.no_grad():
            targets = self.target(after, self._noisy(self.actor(after)))
            wanted = reward[:, None] + discount[:, None] * torch.min(*targets)
        estimates = self.critic(encoded, action)
        critic_loss = sum(F.mse_loss(estimate, wanted) for estimate in estimates)
        assert isinstance(critic_loss, Tensor)
        self.encoder_optimizer.zero_grad()
        self.critic_optimizer.zero_grad()
        critic_loss.backward()
        self.critic_optimizer.step()
        self.encoder_optimizer.step()

        encoded = encoded.detach()
        actor_loss = -torch.min(*self.critic(encoded, self._noisy(self.actor(encoded)))).mean()
        self.actor_optimizer.zero_grad()
        actor_loss.backward(inputs=self.acting)
        self.actor_optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(self.slow, self.judging, task.target_rate)
            for known, new in zip(*self.buffers, strict=True):
                known.copy_(new)  # a spectral norm's vectors: they suit weights that are close
        return critic_loss.detach(), actor_loss.detach()

    def _noisy(self, mean: Tensor) -> Tensor:
        """Return actions with clipped noise, clamped to -1 .. 1; the gradient passes through."""
        clip = self.task.noise_clip
        noise = (self.noise * torch.randn(mean.shape)).clamp(-clip, clip)
        action = mean + sent(noise, mean.device)
        return action + (action.clamp(-1 + 1e-6, 1 - 1e-6) - action).detach()

    def _random(self, observations: Tensor) -> Tensor:
        """Uniformly random actions."""
        return torch.rand(len(observations), self.task.outputs) * 2 - 1

    def _mean_return(self, act: Act, count: int) -> Metrics:
        """Return mean and standard deviation (n - 1) of the return over episodes without noise."""
        environment, returns = self.task.environment, list[float]()
        started = [environment.start() for _ in range(min(count, environment.side_by_side))]
        with cached():  # nothing is trained meanwhile
            while len(returns) < count:
                returns += earned(started[: count - len(returns)], act)
        finite = all(map(math.isfinite, returns))
        deviation = statistics.stdev(returns) if count > 1 and finite else 0.0
        return {"return": statistics.fmean(returns), "return_std": deviation}

    def evaluate(self) -> Metrics:
        return self._mean_return(self._act, self.task.episodes)

    def test(self) -> Metrics:
        """Measure the return on new seeds, and that of as many episodes of random actions."""
        metrics = self._mean_return(self._act, self.task.test_episodes)
        by_chance = self._mean_return(self._random, self.task.test_episodes)
        return {**metrics, "random_return": by_chance["return"]}

    def show(self, path: Path) -> list[str]:
        """Draw the returns of all training episodes of its line; film one more if it renders."""
        from nasrun.pictures.plots import returns

        curve = path.with_name(path.name + "_returns.png")
        returns(self.returns, curve)
        return [curve.name, *film(self.task.environment.start(), self._act, path)]

    def trained(self) -> Trained:
        optimizers = [self.encoder_optimizer, self.actor_optimizer, self.critic_optimizer]
        memory: dict[str, Any] = {"steps": self.steps, "returns": list(self.returns)}
        return Trained(
            network=state_of(self.network),
            averages={"target": state_of(self.target, "critic.")},
            moments=moments_of(self.network, optimizers),
            memory={**memory, "replay": self.replay.state_dict()},
        )

    def load(self, trained: Trained) -> None:
        self.network.load_state_dict(trained.network)
        target = {n.removeprefix("critic."): t for n, t in trained.averages["target"].items()}
        self.target.load_state_dict(target)
        optimizers = [self.encoder_optimizer, self.actor_optimizer, self.critic_optimizer]
        restore_moments(self.network, optimizers, trained.moments)
        self.steps = trained.memory["steps"]
        self.returns = list(trained.memory["returns"])
        self._kept = trained.memory["replay"]
        self.__dict__.pop("replay", None)


def shifted(images: Tensor, pad: int) -> Tensor:
    """Shift images (B, C, H, W) by up to `pad` whole pixels each, edges repeated (DrQ)."""
    count, _, height, width = images.shape
    padded = F.pad(images, (pad,) * 4, mode="replicate")
    moves = sent(torch.randint(2 * pad + 1, (2, count, 1)), images.device)
    rows = moves[0] + torch.arange(height, device=images.device)
    columns = moves[1] + torch.arange(width, device=images.device)
    index = torch.arange(count, device=images.device)[:, None, None]
    picked = padded.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2)
