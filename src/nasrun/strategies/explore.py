"""Exploring a space by single paths with shared weights, while a controller learns from them.

The alternation of ENAS (1802.03268): a pass over the training data moves the weights of one sampled
path per batch; then the controller learns from the scores of paths on validation batches. Only the
running path is in the device's memory. The weights of all paths lie in host memory if the device is
a GPU, else in a file mapped into memory, whose pages the system may write out at any time.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nasrun.context import Context
from nasrun.costs.memory import Additive, Shapes
from nasrun.divergence import Diverged, below
from nasrun.genotype import NONE, Genotype
from nasrun.machine import sent
from nasrun.refusing import refuse_below, refuse_clip
from nasrun.schedules import Schedule
from nasrun.spaces.supernet import SupernetSpace, batch_statistics
from nasrun.stage import Metrics, Stage
from nasrun.strategies.controller import Controller
from nasrun.strategies.subspace import Kept, all_choices, choices, genotypes, mask
from nasrun.tasks.base import ImageTask, OptimizerFactory, Subset


@dataclass(kw_only=True, eq=False)
class Explore:
    """One round trains sampled paths, then updates the controller, each time from `samples` paths.

    There are `updates` updates. The reward of a path is the task's objective on `images` validation
    images, or all if there are fewer; each update draws new images, the same for all its paths.
    Warm-up rounds sample paths uniformly and update nothing: early rewards show which weights were
    trained, not which choices are good.
    """

    controller: Controller
    batch_size: int
    optimizer: OptimizerFactory
    schedule: Schedule
    clip: float | None
    updates: int
    samples: int
    images: int

    def __post_init__(self) -> None:
        refuse_below(self, batch_size=2, updates=0, samples=1, images=2)
        refuse_clip(clip=self.clip)
        if not _begins_with_zeros(self.optimizer):
            raise ValueError(
                f"optimizer: the state of {type(self.optimizer([torch.ones(1)])).__name__} does "
                "not begin with zeros, as that of shared weights has to; use sgd, adam or adamw"
            )

    def begin(self, context: Context[SupernetSpace, ImageTask]) -> None:
        """Put the first weights of each choice into the bank."""
        self.space, self.task = space, task = context.space, context.task
        self.streams = context.streams
        self.device = context.budget.torch_device
        self.train, self.validation = task.split("train"), task.split("validation")
        self.controller.begin(all_choices(space))
        self.bank = Bank(self.optimizer, mapped=self.device.type == "cpu" and os.name == "posix")
        for path in covering_paths(space):
            self.bank.add(space.network(path, inputs=task.inputs, outputs=task.outputs))
        self.bank.open()

    def step_bytes(self, shapes: Shapes, additive: Additive) -> int:
        """Return the peak, by shapes, of work on the largest path; on a CPU with all weights.

        A path has all edges of a cell, even if a derived network keeps only a few.
        """
        each = additive.each
        largest: Kept = {name: (max(row, key=row.__getitem__),) for name, row in each.items()}
        return self.aside + shapes.step(largest, self.batch_size, self.batch_size)

    @property
    def aside(self) -> int:
        """The bytes of the shared weights in the limited memory: none if the device is a GPU."""
        return self.bank.bytes if self.device.type == "cpu" else 0

    def run_round(self, stage: Stage, progress: float, *, warm_up: bool) -> Metrics:
        """Run one round for a stage that has done this share of its exploring."""
        lr = self.schedule.at(progress, self.bank.first_lr)
        loss = self._train(stage, lr, warm_up)
        if not (math.isfinite(loss) and self.bank.finite):
            raise Diverged("exploring", {"train_loss": loss}, ["optimizer.lr", "clip"])
        metrics = {"lr": lr, "train_loss": loss}
        if not warm_up and self.updates:
            metrics["reward"] = self.teach()
        return metrics

    def _train(self, stage: Stage, lr: float, warm_up: bool) -> float:
        order = torch.randperm(len(self.train), generator=self.streams("order"))
        batches = self.task.batches(self.train, self.batch_size, order, self.streams("augment"))
        losses, paths = [], self.streams("paths")
        for batch in stage.track(batches, math.ceil(len(order) / self.batch_size)):
            network = self.path(self.uniform(paths) if warm_up else self.draw(1, paths)[0])
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
        """Give the controller the lessons of a round; return the mean reward of all paths."""
        means, lessons, images = [], self.streams("lessons"), self.streams("validation order")
        for _ in range(self.updates):
            with below("controller"):
                rollout = self.controller.draw(self.samples, lessons)
            chosen = torch.randperm(len(self.validation), generator=images)[: self.images]
            part = Subset(self.validation, chosen)
            scores = [self.score(g, part) for g in genotypes(self.space, rollout.columns)]
            rewards = torch.tensor(scores)
            with below("controller"):
                self.controller.learn(rollout, rewards)
            means.append(float(rewards.mean()))
        return sum(means) / len(means)

    def score(self, genotype: Genotype, part: Any = None) -> float:
        """Return a path's objective with shared weights, by default on all validation images."""
        part = self.validation if part is None else part
        network = self.path(genotype)
        with batch_statistics(network), torch.no_grad():
            return self.task.evaluate(network, part, self.batch_size)[self.task.objective]

    def draw(self, count: int, generator: torch.Generator) -> list[Genotype]:
        """Paths that the controller draws."""
        with below("controller"):
            return genotypes(self.space, self.controller.draw(count, generator).columns)

    def whole(self, genotype: Genotype) -> Genotype:
        """Return a path's architecture: of edges that exclude each other, the likeliest ones."""
        with below("controller"):
            chosen, table = dict(genotype), self.controller.marginals()
        for limit in self.space.limits:
            likely = {
                name: float(table[self.space.rows[name], self.space.column(name, chosen[name])])
                for name in limit.decisions
            }
            ranked = sorted(limit.decisions, key=likely.__getitem__, reverse=True)
            chosen |= dict.fromkeys(ranked[limit.count :], NONE)
        return genotype.changed(chosen)

    def uniform(self, generator: torch.Generator) -> Genotype:
        """Return a uniformly random path of the choices alive."""
        columns = torch.multinomial(self.controller.alive.float(), 1, generator=generator).T
        return genotypes(self.space, columns)[0]

    def path(self, genotype: Genotype) -> nn.Module:
        """Return the network of a path on the device, with copies of the shared weights."""
        with torch.device("meta"):
            network = self.space.network(
                genotype, inputs=self.task.inputs, outputs=self.task.outputs
            )
        self.bank.lend(network, self.device)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.track_running_stats = False  # shared weights have no running statistics
        return network.train()

    def alive(self) -> Kept:
        """Return the choices that the controller may draw."""
        return choices(self.space, self.controller.alive)

    def keep(self, kept: Mapping[str, Sequence[str]]) -> None:
        """Restrict the controller to these choices."""
        self.controller.alive = mask(self.space, kept)

    def state_dict(self) -> dict[str, Any]:
        return {"controller": self.controller.state_dict(), "bank": self.bank.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.controller.load_state_dict(state["controller"])
        self.bank.load_state_dict(state["bank"])


def _begins_with_zeros(factory: OptimizerFactory) -> bool:
    """Return whether an optimizer's first step is the same with a state of zeros."""
    weights = [torch.ones(2, requires_grad=True) for _ in range(2)]
    fresh, zeroed = (factory([weight]) for weight in weights)
    for weight in weights:
        weight.grad = torch.tensor([0.5, -1.0])
    fresh.step()
    for key, value in fresh.state[weights[0]].items():
        if isinstance(value, torch.Tensor):
            zeroed.state[weights[1]][key] = torch.zeros_like(value)
    zeroed.step()
    return torch.equal(*weights)


class Bank:
    """The weights of all candidates by name, with the state of their optimizer.

    Networks `add` weights until the bank is `open`. The optimizer's state begins with zeros, as
    that of SGD and Adam does.
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
        """Take over the weights of a network that have no entry yet."""
        for name, parameter in network.named_parameters():
            self._first.setdefault(name, parameter.detach())

    def open(self) -> None:
        """Lay all weights and states out in one block, in memory or mapped."""
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
        """True if all numbers are finite; the block is not copied."""
        return bool(torch.linalg.vector_norm(self.block, math.inf).isfinite())

    def lend(self, network: nn.Module, device: torch.device) -> None:
        """Give copies of its weights to a network on the meta device."""
        lent = {
            name: sent(self._parts[name][""], device, copy=True)
            for name, _ in network.named_parameters()
        }
        network.load_state_dict(lent, strict=False, assign=True)

    def optimizer(self, network: nn.Module, lr: float) -> torch.optim.Optimizer:
        """Return the optimizer of a network's weights, with the state that is kept for them."""
        optimizer = self._factory(network.parameters())
        for group in optimizer.param_groups:
            group["lr"] = lr
        for name, parameter in network.named_parameters():
            for key, dim in self._keys.items():
                device = parameter.device if dim else "cpu"
                kept = self._parts[name][key]
                optimizer.state[parameter][key] = sent(kept, torch.device(device), copy=True)
        return optimizer

    def take(self, network: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Store the weights of a network with the state of its optimizer; without one it is 0."""
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                self._parts[name][""].copy_(parameter)
                for key in self._keys:
                    state = 0.0 if optimizer is None else optimizer.state[parameter][key]
                    self._parts[name][key].copy_(torch.as_tensor(state))

    def fill(self, network: nn.Module) -> None:
        """Copy the shared weights into a network that has weights of its own."""
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                parameter.copy_(sent(self._parts[name][""], parameter.device))

    def state_dict(self) -> dict[str, Any]:
        return {"block": self.block}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.block.copy_(state["block"])


def _mapped(size: int) -> Tensor:
    """Zeros in an unnamed file, which ends with the process."""
    with tempfile.NamedTemporaryFile(prefix="nasrun-") as file:
        file.truncate(4 * size)
        return torch.from_file(file.name, shared=True, size=size)


def covering_paths(space: SupernetSpace) -> list[Genotype]:
    """Return the fewest paths in which each choice occurs: as many as a decision has choices."""
    return [
        Genotype(
            space.name,
            {d.name: d.choices[min(column, len(d.choices) - 1)] for d in space.decisions},
        )
        for column in range(space.width)
    ]
