"""Scores of untrained networks: formulas on a batch of images.

The literature calls them zero-cost proxies. As in most released codes, the batch consists of
training images without augmentation, the network is in training mode, so that batch norms use the
batch, and every candidate gets the same images and random numbers.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.context import Context
from nasrun.costs.amounts import Amounts, count_choices
from nasrun.costs.ledger import Ledger, sizes
from nasrun.costs.memory import Shapes
from nasrun.evaluators.base import Evaluator
from nasrun.genotype import Genotype
from nasrun.ops.operation import Operation, Whole
from nasrun.score import Score
from nasrun.spaces.layout import Layout, Stem
from nasrun.spaces.supernet import SupernetSpace
from nasrun.stage import Metrics, Stage
from nasrun.streams import restored, seeded
from nasrun.supernet.stacked import StackedNetwork
from nasrun.tasks.base import Batch, ImageTask, Subset


class Formula(ABC):
    """One or more numbers of a new network and a batch, named by `names`; higher is better.

    `amount` names the `ChoiceCosts` that are the number in millions, `None` if it is no sum over
    choices. Such a number needs no network. `least` is the smallest number of images.
    """

    names: ClassVar[tuple[str, ...]]
    amount: ClassVar[str | None] = None
    least: int = 1

    @abstractmethod
    def __call__(self, network: StackedNetwork, batch: Batch) -> tuple[float, ...]:
        """Return one number per name; the network is in training mode and is discarded afterwards.

        The state of torch's global generator is the same for every candidate.
        """


class Untrained(Evaluator):
    """Scores by one number of a formula, or by several numbers joined by their ranks.

    With several numbers s_1 .. s_K an architecture's score is

        sum_k log(rank_k / (R + 1)).

    rank_k is the rank of s_k among the architecture itself and `reference` = R uniformly drawn
    ones: 1 for the smallest, and a tie counts half. So a score does not depend on other candidates,
    unlike AZ-NAS's sum (2403.19232 eq. 12), which ranks among all candidates. `name` names the sum.
    """

    scores = SupernetSpace  # the memory of the largest network is computed from it

    def __init__(
        self,
        *,
        formulas: Sequence[Formula],
        name: str | None,
        reference: int | None,
        images: int,
        channels: int,
        layers: int,
        stem: Stem,
    ) -> None:
        names = [name for formula in formulas for name in formula.names]
        shown = ", ".join(names)
        if not names or len(set(names)) < len(names):
            raise ValueError(
                f"formulas: they give the numbers [{shown}]; use at least one, and each only once"
            )
        joined = len(names) > 1
        if joined and (name is None or reference is None or reference < 1):
            raise ValueError(
                f"name={name} reference={reference}: {shown} are joined by their ranks; give their "
                "sum a name, and rank among 1 architecture or more"
            )
        if not joined and (name, reference) != (None, None):
            raise ValueError(
                f"name={name} reference={reference}: {shown} is one number and needs no ranks; "
                "use null for both"
            )
        if images < 2:
            raise ValueError(f"images={images}: use 2 or more, for batch norm")
        self.formulas = tuple(formulas)
        self.name = names[0] if name is None else name
        self.reference = reference
        self.images = images
        self.layout = Layout(channels=channels, layers=layers, stem=stem)
        self.known: list[Metrics] = []

    def check(self, task: ImageTask) -> None:
        for formula in self.formulas:
            if self.images < formula.least:
                raise ValueError(
                    f"evaluator.images={self.images}: too few for {formula.names[0]}; use "
                    f"{formula.least} or more"
                )
        count = len(task.split("train"))
        if self.images > count:
            raise ValueError(
                f"evaluator.images={self.images}: there are {count} training images; use at "
                f"most {count}"
            )

    def begin(self, context: Context[SupernetSpace, ImageTask]) -> None:
        self.space, self.task, self.budget = context.space, context.task, context.budget
        self.device = context.budget.torch_device
        train = self.task.split("train")
        self.streams = context.streams
        (self.seed,) = self.streams.numbers("evaluator", 1)
        drawn = torch.randperm(len(train), generator=seeded(self.seed))[: self.images]
        (self.batch,) = Subset(train, drawn).batches(self.images)
        self.sums = self._sums()

    def _sums(self) -> dict[str, Amounts]:
        """Return the numbers that are sums over choices, by formula's name."""
        counted = {f.names[0]: f.amount for f in self.formulas if f.amount is not None}
        if not counted:
            return {}
        task, size = self.task, self.task.size
        inputs, outputs = task.inputs, task.outputs
        costs = count_choices(self.space, self.layout, inputs=inputs, outputs=outputs, size=size)
        return {name: getattr(costs, amount) for name, amount in counted.items()}

    @property
    def warm_up_rounds(self) -> int:
        return self.reference or 0

    def warm_up(self, stage: Stage, progress: float) -> Metrics:
        """Compute the numbers of one more reference architecture."""
        (drawn,) = stage.track([self.space.sample(self.streams("reference"))], 1)
        self.known.append(self.numbers(drawn))
        return {name: value for name, value in self.known[-1].items() if math.isfinite(value)}

    def __call__(self, genotype: Genotype) -> Score:
        numbers = self.numbers(genotype)
        if self.reference is None:
            return Score(self.name, numbers[self.name])
        return Score(self.name, sum(self._log_rank(*item) for item in numbers.items()))

    def _log_rank(self, name: str, value: float) -> float:
        others = [numbers[name] for numbers in self.known]
        lower = sum(other < value for other in others)
        equal = sum(other == value for other in others)
        return math.log((1 + lower + equal / 2) / (1 + len(others)))

    def numbers(self, genotype: Genotype) -> Metrics:
        """Return all numbers of an architecture by name, minus infinity in place of NaN."""
        found: Metrics = {}
        for formula in self.formulas:
            if not genotype.concat and (amounts := self.sums.get(formula.names[0])):
                found[formula.names[0]] = float(round(1e6 * amounts.of(genotype)))
                continue
            with restored(), self.budget.precisely():
                torch.manual_seed(self.seed)
                network = self.network(genotype).to(self.device)
                torch.manual_seed(self.seed)  # networks draw different counts of numbers
                values = formula(network, self.batch)
            found |= zip(formula.names, values, strict=True)
        return {name: -math.inf if math.isnan(v) else v for name, v in found.items()}

    def network(self, genotype: Genotype) -> StackedNetwork:
        """Return a new network of the genotype whose operations share no computation."""
        inputs, outputs = self.task.inputs, self.task.outputs
        network = self.space.network(genotype, inputs=inputs, outputs=outputs, layout=self.layout)
        return separate(network).to(memory_format=torch.channels_last).train()

    def step_bytes(self) -> int:
        """Return the bytes of a forward and backward pass of the largest network, by shapes.

        Its weights count three times, since SynFlow holds them in double precision. Sums over
        choices need no network.
        """
        if all(formula.amount is not None for formula in self.formulas):
            return 0
        task, size = self.task, self.task.size
        shapes = Shapes(self.space, inputs=task.inputs, outputs=task.outputs, size=size, slots=0.0)
        with torch.device("meta"):
            network = self.network(shapes.largest(self.images))
        given = sizes([*network.parameters(), *network.buffers()])
        with Ledger(given) as ledger, torch.device("meta"):
            images = torch.empty(self.images, task.inputs, size, size)
            gradients(network, (images, torch.empty(self.images, dtype=torch.long)))
        return 3 * sum(given.values()) + ledger.most

    @property
    def unsound(self) -> str:
        return f"has a finite {self.name}; use another evaluator or other images"

    def state_dict(self) -> dict[str, Any]:
        return {"known": self.known}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.known = list(state["known"])


def separate(network: StackedNetwork) -> StackedNetwork:
    """Make every operation of the network compute on its own, and return the network.

    Otherwise operations that read the same map share its ReLU and leave their last layers to the
    sum that they are part of. The values are the same, but formulas that count ReLUs expect one per
    operation.
    """
    inside: set[nn.Module] = set()  # the modules inside of operations
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Operation) and module not in inside:
                setattr(module, name, Whole(child))
                inside.update(child.modules())
    return network


def weights(network: nn.Module) -> list[Tensor]:
    """Return the weights of convolutions and linear layers, without biases."""
    layers = (nn.Conv2d, nn.Linear)
    return [module.weight for module in network.modules() if isinstance(module, layers)]


def gradients(network: StackedNetwork, batch: Batch) -> list[Tensor]:
    """Return the gradients of the cross entropy by the `weights`, zeros where there are none."""
    images, labels = batch
    loss = F.cross_entropy(network(images)[0], labels)
    return list(torch.autograd.grad(loss, weights(network), materialize_grads=True))
