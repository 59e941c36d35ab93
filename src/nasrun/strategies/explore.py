"""Exploring a space by single paths with shared weights, while a controller learns what is good.

ENAS's alternation (1802.03268): a pass over the training data moves the weights of one drawn path a
batch; then the controller learns from the paths' scores on validation batches. Only the path that
runs is in the device's memory. All weights lie outside: beside a GPU in host memory, else in a file
that is mapped into memory, which the system may write out at any time.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nasrun.context import Context
from nasrun.costs.memory import Additive, Shapes
from nasrun.divergence import Diverged, below
from nasrun.genotype import NONE, Genotype
from nasrun.schedules import Schedule
from nasrun.spaces.supernet import SupernetSpace, batch_statistics
from nasrun.stage import Metrics, Stage
from nasrun.strategies.controller import Controller, Kept, choices, genotypes, mask
from nasrun.tasks.base import ImageTask, OptimizerFactory, Subset


class Explore:
    """One round: the weights of drawn paths, then `updates` lessons of `samples` paths each.

    A path's reward is the task's objective on `images` validation images, drawn anew for every
    lesson and the same for all its paths. In warm-up rounds paths are drawn uniformly and there are
    no lessons: early rewards tell which weights were trained, not which are good.
    """

    def __init__(
        self,
        *,
        controller: Controller,
        batch_size: int,
        optimizer: OptimizerFactory,
        schedule: Schedule,
        clip: float | None,
        updates: int,
        samples: int,
        images: int,
    ) -> None:
        if batch_size < 2 or images < 2:
            raise ValueError(f"batch_size={batch_size} images={images}: use at least 2 for both")
        if updates < 0 or samples < 1:
            raise ValueError(f"updates={updates} samples={samples}: from 0 and from 1 on")
        if clip is not None and clip <= 0:
            raise ValueError(f"clip={clip}: use more than 0, or null for none")
        self.controller = controller
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.schedule = schedule
        self.clip = clip
        self.updates = updates
        self.samples = samples
        self.images = images

    def begin(self, context: Context[SupernetSpace, ImageTask]) -> None:
        """Put first weights of every choice into the bank."""
        self.space, self.task = space, task = context.space, context.task
        self.device = context.budget.torch_device
        self.train, self.validation = task.split("train"), task.split("validation")
        self.controller.begin(space)
        self.bank = Bank(self.optimizer, mapped=self.device.type == "cpu" and os.name == "posix")
        for path in covering_paths(space):
            self.bank.add(space.network(path, inputs=task.inputs, outputs=task.outputs))
        self.bank.open()

    def step_bytes(self, shapes: Shapes, additive: Additive) -> int:
        """What the largest path takes, trained or measured, by shapes, and on a CPU all weights.

        A path has all edges of a cell, also where a network keeps a few.
        """
        each = additive.each
        largest: Kept = {name: (max(row, key=row.__getitem__),) for name, row in each.items()}
        return self.aside + shapes.step(largest, self.batch_size, self.batch_size)

    @property
    def aside(self) -> int:
        """The shared weights' share of the limited memory: none beside a GPU."""
        return self.bank.bytes if self.device.type == "cpu" else 0

    def run_round(self, stage: Stage, progress: float, *, warm_up: bool) -> Metrics:
        """One round for a stage whose exploring is done to this share."""
        lr = self.schedule.at(progress, self.bank.first_lr)
        loss = self._train(stage, lr, warm_up)
        if not (math.isfinite(loss) and self.bank.finite):
            raise Diverged("exploring", {"train_loss": loss}, ["optimizer.lr", "clip"])
        metrics = {"lr": lr, "train_loss": loss}
        if not warm_up and self.updates:
            metrics["reward"] = self.teach()
        return metrics

    def _train(self, stage: Stage, lr: float, warm_up: bool) -> float:
        order = torch.randperm(len(self.train))
        steps = math.ceil(len(order) / self.batch_size)
        losses = []
        for batch in stage.track(self.task.batches(self.train, self.batch_size, order), steps):
            network = self.path(self.uniform() if warm_up else self.draw(1)[0])
            optimizer = self.bank.optimizer(network, lr)
            loss = self.task.loss(network, batch)
            loss.backward()
            if self.clip is not None:
                nn.utils.clip_grad_norm_(network.parameters(), self.clip)
            optimizer.step()
            self.bank.take(network, optimizer)
            losses.append(loss.detach())
        return float(torch.stack(losses).mean())

    def teach(self) -> float:
        """The controller's lessons of a round; the mean reward of all paths."""
        means = []
        for _ in range(self.updates):
            with below("controller"):
                rollout = self.controller.draw(self.samples)
            chosen = torch.randperm(len(self.validation))[: self.images]
            part = Subset(self.validation, chosen)
            scores = [self.score(g, part) for g in genotypes(self.space, rollout.columns)]
            rewards = torch.tensor(scores)
            with below("controller"):
                self.controller.learn(rollout, rewards)
            means.append(float(rewards.mean()))
        return sum(means) / len(means)

    def score(self, genotype: Genotype, part: Any = None) -> float:
        """The objective of a path with the shared weights, on all validation images by default."""
        part = self.validation if part is None else part
        network = self.path(genotype)
        with batch_statistics(network), torch.no_grad():
            return self.task.evaluate(network, part, self.batch_size)[self.task.objective]

    def draw(self, count: int) -> list[Genotype]:
        """Paths from the controller."""
        with below("controller"):
            return genotypes(self.space, self.controller.draw(count).columns)

    def whole(self, genotype: Genotype) -> Genotype:
        """A path as an architecture: where edges exclude each other, the controller's likeliest."""
        with below("controller"):
            chosen, table = dict(genotype), self.controller.marginals()
        for limit in self.space.limits:
            likely = {
                name: float(table[self.space.rows[name], self._column(name, chosen[name])])
                for name in limit.decisions
            }
            ranked = sorted(limit.decisions, key=likely.__getitem__, reverse=True)
            chosen |= dict.fromkeys(ranked[limit.count :], NONE)
        return genotype.changed(chosen)

    def _column(self, name: str, choice: str) -> int:
        return self.space.decisions[self.space.rows[name]].choices.index(choice)

    def uniform(self) -> Genotype:
        """A path from all that is alive."""
        columns = torch.multinomial(self.controller.alive.float(), 1).T
        return genotypes(self.space, columns)[0]

    def path(self, genotype: Genotype) -> nn.Module:
        """The network of a path on the device, with copies of the shared weights."""
        with torch.device("meta"):
            network = self.space.network(
                genotype, inputs=self.task.inputs, outputs=self.task.outputs
            )
        self.bank.lend(network, self.device)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.track_running_stats = False  # shared weights have no statistics of their own
        return network.train()

    def alive(self) -> Kept:
        """The choices that the controller may draw."""
        return choices(self.space, self.controller.alive)

    def keep(self, kept: Mapping[str, Sequence[str]]) -> None:
        """From now on only these choices are drawn."""
        self.controller.alive = mask(self.space, kept)

    def state_dict(self) -> dict[str, Any]:
        return {"controller": self.controller.state_dict(), "bank": self.bank.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.controller.load_state_dict(state["controller"])
        self.bank.load_state_dict(state["bank"])


class Bank:
    """The weights of all candidates by name, with the state that their optimizer keeps of them.

    Networks `add` names until the bank is `open`. What an optimizer keeps begins as zeros, as SGD's
    and Adam's does.
    """

    def __init__(self, factory: OptimizerFactory, *, mapped: bool) -> None:
        self._factory = factory
        self._mapped = mapped
        self._first: dict[str, Tensor] = {}
        probe = torch.ones(2, requires_grad=True)
        optimizer = factory([probe])
        probe.grad = torch.ones(2)
        optimizer.step()
        kept = optimizer.state[probe].items()
        self._keys = {key: value.dim() for key, value in kept if isinstance(value, Tensor)}
        self.first_lr: float = optimizer.param_groups[0]["lr"]

    def add(self, network: nn.Module) -> None:
        """Take over the weights of a network whose names are not known yet."""
        for name, parameter in network.named_parameters():
            self._first.setdefault(name, parameter.detach())

    def open(self) -> None:
        """Lay everything out in one block, in memory or mapped."""
        shapes: dict[str, dict[str, torch.Size]] = {}
        for name, value in self._first.items():
            state = {k: value.shape if dim else torch.Size() for k, dim in self._keys.items()}
            shapes[name] = {"": value.shape, **state}
        sizes = [shape.numel() for parts in shapes.values() for shape in parts.values()]
        self.block = _mapped(sum(sizes)) if self._mapped else torch.zeros(sum(sizes))
        pieces = iter(self.block.split(sizes))
        self._parts = {
            name: {key: next(pieces).view(shape) for key, shape in parts.items()}
            for name, parts in shapes.items()
        }
        for name, value in self._first.items():
            self._parts[name][""].copy_(value)
        self._first = {}

    @property
    def bytes(self) -> int:
        """The size of the block."""
        return self.block.numel() * self.block.element_size()

    @property
    def finite(self) -> bool:
        """Whether all numbers are finite; no copy of the block is made."""
        return bool(torch.linalg.vector_norm(self.block, math.inf).isfinite())

    def lend(self, network: nn.Module, device: torch.device) -> None:
        """Give a network without numbers copies of its weights."""
        lent = {
            name: self._parts[name][""].to(device, copy=True)
            for name, _ in network.named_parameters()
        }
        network.load_state_dict(lent, strict=False, assign=True)

    def optimizer(self, network: nn.Module, lr: float) -> torch.optim.Optimizer:
        """The optimizer of a network's weights, going on from what is kept of them."""
        optimizer = self._factory(network.parameters())
        for group in optimizer.param_groups:
            group["lr"] = lr
        for name, parameter in network.named_parameters():
            for key, dim in self._keys.items():
                device = parameter.device if dim else "cpu"
                optimizer.state[parameter][key] = self._parts[name][key].to(device, copy=True)
        return optimizer

    def take(self, network: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Keep a network's weights and, if given, its optimizer's state."""
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                self._parts[name][""].copy_(parameter)
                if optimizer is not None:
                    for key in self._keys:
                        self._parts[name][key].copy_(optimizer.state[parameter][key])

    def fill(self, network: nn.Module) -> None:
        """Put the shared weights into a network that has numbers."""
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                parameter.copy_(self._parts[name][""])

    def state_dict(self) -> dict[str, Any]:
        return {"block": self.block}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.block.copy_(state["block"])


def _mapped(size: int) -> Tensor:
    """Zeros in a file without a name: gone with the process, and not in its way."""
    with tempfile.NamedTemporaryFile(prefix="nasrun-") as file:
        file.truncate(4 * size)
        return torch.from_file(file.name, shared=True, size=size)


def covering_paths(space: SupernetSpace) -> list[Genotype]:
    """As few paths as decisions have choices, in which every choice occurs."""
    return [
        Genotype(
            space.name,
            {d.name: d.choices[min(column, len(d.choices) - 1)] for d in space.decisions},
        )
        for column in range(space.width)
    ]
