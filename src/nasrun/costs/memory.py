"""The memory that a search takes, by shapes alone: networks on the meta device compute nothing.

A step runs there under a ledger, which counts activations kept for the backward pass, gradients,
and tensors that an operation needs only for a moment. Shapes do not show the scratch space of
libraries and the waste of an allocator; scripts/check_memory.py measures a factor for both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nasrun.budget import Budget
from nasrun.costs.ledger import Ledger, Results, sizes
from nasrun.genotype import NONE, Decision, Genotype
from nasrun.networks import ImageClassifier
from nasrun.spaces.base import ClassifierSpace
from nasrun.spaces.layout import Layout
from nasrun.spaces.supernet import SupernetSpace, batch_statistics
from nasrun.supernet.mixture import Mixture
from nasrun.tasks.base import ImageTask, OptimizerFactory

Active = tuple[tuple[int, ...], ...]
"""The columns that run, per decision."""

META = torch.device("meta")


@dataclass(frozen=True)
class Additive:
    """Bytes as a sum: `base`, and `each[decision][choice]` for each choice that is kept."""

    base: int
    each: Mapping[str, Mapping[str, int]]

    def of(self, kept: Mapping[str, Sequence[str]]) -> int:
        """Return the bytes of a subspace."""
        return self.base + sum(
            self.each[name][choice] for name, choices in kept.items() for choice in choices
        )


class Shapes:
    """The search network of a space, without numbers; its methods return the bytes of its parts.

    `slots` is how many numbers the optimizer of the weights keeps per parameter, `number` is the
    type of activations. The default `layout` is that of the space's search network. `processes` is
    how many share each batch.
    """

    def __init__(
        self,
        space: SupernetSpace,
        *,
        inputs: int,
        outputs: int,
        size: int,
        slots: float = 1.0,
        number: torch.dtype = torch.float32,
        layout: Layout | None = None,
        processes: int = 1,
    ) -> None:
        self.space, self.layout, self.processes = space, layout, processes
        self.inputs, self.outputs, self.size, self.slots = inputs, outputs, size, slots
        with META:
            self.network = space.network(inputs=inputs, outputs=outputs, layout=layout)
        self.type = number
        self.network.to(number)
        self._given = sizes([*self.network.parameters(), *self.network.buffers()])
        self._weights = sizes(self.network.parameters())
        self._results = Results()

    @classmethod
    def of(
        cls,
        space: SupernetSpace,
        task: ImageTask,
        budget: Budget,
        optimizer: OptimizerFactory,
        layout: Layout | None = None,
        *,
        exact: bool = False,
    ) -> Shapes:
        """Return the shapes of a search on the images of a task, with this optimizer of weights.

        `exact` is whether a step computes in fp32 whatever the budget's precision is.
        """
        return cls(
            space,
            inputs=task.inputs,
            outputs=task.outputs,
            size=task.size,
            slots=optimizer_slots(optimizer),
            number=torch.float32 if exact else _number(budget),
            layout=layout,
            processes=budget.size,
        )

    def active(self, kept: Mapping[str, Sequence[str]]) -> Active:
        """Return the columns of these choices; a decision that is not named has all its columns."""
        return tuple(
            tuple(
                column
                for column, choice in enumerate(decision.choices)
                if choice != NONE and choice in kept.get(decision.name, decision.choices)
            )
            for decision in self.space.decisions
        )

    def weight_bytes(self, kept: Mapping[str, Sequence[str]]) -> int:
        """Return the parameters of a subspace and their optimizer's state, without gradients."""
        with META:
            network = self.space.restrict(_tuples(kept)).network(
                inputs=self.inputs, outputs=self.outputs, layout=self.layout
            )
        numbers = sum(parameter.numel() for parameter in network.parameters())
        return round(4 * numbers * (1 + self.slots))

    def training(self, kept: Mapping[str, Sequence[str]], batch_size: int, graphs: int = 1) -> int:
        """Return the peak of one training step on this subspace, its weights included.

        `graphs` forward passes are alive before the first gradient is computed.
        """
        active = self.active(kept)
        self.network.train()
        with Ledger(self._given, self._results) as ledger:
            weights = torch.empty(len(active), self.space.width, device=META, dtype=self.type)
            weights.requires_grad_()
            loss = sum(self._loss(weights, active, batch_size) for _ in range(graphs))
            assert isinstance(loss, Tensor)
            moved = [weights, *self.network.parameters()]
            gradients = torch.autograd.grad(loss, moved, allow_unused=True)
            del loss, gradients
        return self.weight_bytes(kept) + ledger.most

    def evaluation(self, kept: Mapping[str, Sequence[str]], batch_size: int) -> int:
        """Return the peak of measuring this subspace, its weights included."""
        active = self.active(kept)
        ledger = Ledger(self._given, self._results)
        with batch_statistics(self.network), torch.no_grad(), ledger:
            weights = torch.empty(len(active), self.space.width, device=META, dtype=self.type)
            self.network(self._images(batch_size), Mixture(weights, active))
        return self.weight_bytes(kept) + ledger.most

    def step(
        self,
        kept: Mapping[str, Sequence[str]],
        batch_size: int,
        test_batch: int,
        graphs: int = 1,
    ) -> int:
        """Return the peak of training and measuring this subspace."""
        training = self.training(kept, batch_size, graphs)
        return max(training, self.evaluation(kept, test_batch))

    def single(
        self, kept: Mapping[str, Sequence[str]], batch_size: int, test_batch: int, graphs: int = 1
    ) -> int:
        """Return the peak if a training step runs one choice per decision, the one that adds most.

        The weights of all choices are kept, and measuring runs all choices.
        """
        each = self.additive(batch_size, graphs).each
        path = {
            decision.name: (
                max(kept.get(decision.name, decision.choices), key=each[decision.name].__getitem__),
            )
            for decision in self.space.decisions
        }
        aside = self.weight_bytes(kept) - self.weight_bytes(path)
        training = self.training(path, batch_size, graphs) + aside
        return max(training, self.evaluation(kept, test_batch))

    def largest(self, batch_size: int) -> Genotype:
        """Return the network whose choices add most to a training step."""
        each = self.additive(batch_size).each
        return self.space.cheapest(lambda name, choice: -each[name][choice])

    def additive(self, batch_size: int, graphs: int = 1) -> Additive:
        """Return what a choice adds to a step: activations, weights, gradients, optimizer state.

        The input of a layer is kept once however many choices read it, so it belongs to the base;
        the first two choices show whether they share it. `training` is larger than the sum by the
        tensors that operations need only for a moment.
        """
        self.network.train()
        nothing: Active = ((),) * len(self.space.decisions)
        base = self._kept(nothing, batch_size, graphs)
        each: dict[str, dict[str, int]] = {}
        shared = 0

        def kept(row: int, *columns: int) -> int:
            return self._kept(_only(nothing, row, *columns), batch_size, graphs) - base

        for row, decision in enumerate(self.space.decisions):
            (first, beside), *others = _columns(decision) or [(NONE, 0)]
            found = dict.fromkeys(decision.choices, 0)
            alone = kept(row, beside) if first != NONE else 0
            found[first] = alone
            for choice, column in others:
                found[choice] = kept(row, beside, column) - alone
            if others:
                inside = max(0, kept(row, others[0][1]) - found[others[0][0]])
                found[first] -= inside
                shared += inside
            each[decision.name] = found
        return Additive(base + shared, each)

    def _kept(self, active: Active, batch_size: int, graphs: int) -> int:
        """Return the bytes of kept activations, with weights, gradients and optimizer state."""
        weights = torch.empty(len(active), self.space.width, device=META, dtype=self.type)
        weights.requires_grad_()
        ledger = Ledger(self._weights, self._results)
        with ledger:
            self._loss(weights, active, batch_size)
        numbers = ledger.read / self.type.itemsize
        return graphs * ledger.saved + round(4 * numbers * (2 + self.slots))

    def _images(self, batch_size: int) -> Tensor:
        shape = (batch_size, self.inputs, self.size, self.size)
        return torch.empty(shape, device=META, dtype=self.type)

    def _loss(self, weights: Tensor, active: Active, batch_size: int) -> Tensor:
        logits = self.network(self._images(batch_size), Mixture(weights, active))[0]
        return F.cross_entropy(logits, torch.empty(batch_size, device=META, dtype=torch.long))


def network_bytes(
    space: ClassifierSpace,
    genotype: Genotype,
    layout: Layout | None,
    task: ImageTask,
    *,
    budget: Budget,
    batch_size: int,
    test_batch: int,
    optimizer: OptimizerFactory,
    averaged: bool = False,
) -> int:
    """Return the peak of training and measuring one network, by shapes, its weights included.

    The default `layout` is that of the space. An `averaged` network is kept twice.
    """
    inputs, size, number = task.inputs, task.size, _number(budget)
    with META:
        network = space.network(genotype, inputs=inputs, outputs=task.outputs, layout=layout)
        network.to(number)
    weights = list(network.parameters())
    given, results = sizes([*weights, *network.buffers()]), Results()
    with Ledger(given, results) as training, META:
        images = torch.empty(batch_size, inputs, size, size, dtype=number)
        labels = torch.empty(batch_size, dtype=torch.long)
        loss = torch.stack([F.cross_entropy(y, labels) for y in network.train()(images)]).sum()
        # a cell may not read one of its inputs
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
        del gradients
    with torch.no_grad(), Ledger(given, results) as measuring, META:
        network.eval()(torch.empty(test_batch, inputs, size, size, dtype=number))
    kept = 4 * sum(weight.numel() for weight in weights) * (1 + optimizer_slots(optimizer))
    if averaged:
        kept += sum(
            tensor.numel() * (4 if tensor.is_floating_point() else tensor.element_size())
            for tensor in (*weights, *network.buffers())
        )
    return round(kept) + max(training.most, measuring.most)


def activation_bytes(network: ImageClassifier, inputs: int, size: int) -> int:
    """Return the bytes that training on one square image keeps for the backward pass, in fp32.

    `inputs` is the number of channels, `size` the side in pixels. The network is moved to the meta
    device.
    """
    network.to(META).train()
    given = sizes([*network.parameters(), *network.buffers()])
    with Ledger(given) as ledger:  # two images: batch norm has no variance over one
        network(torch.empty(2, inputs, size, size, device=META))
    return ledger.saved // 2


def _number(budget: Budget) -> torch.dtype:
    """Return the type of activations."""
    return torch.bfloat16 if budget.resolved["precision"] == "bf16" else torch.float32


def optimizer_slots(factory: OptimizerFactory) -> float:
    """Return what an optimizer keeps per parameter: 1 number for SGD with momentum, 2 for Adam."""
    number = torch.zeros(64, requires_grad=True)
    optimizer = factory([number])
    number.grad = torch.ones_like(number)
    optimizer.step()
    kept = [value for value in optimizer.state[number].values() if isinstance(value, Tensor)]
    return sum(value.numel() for value in kept if value.numel() > 1) / number.numel()


def _columns(decision: Decision) -> list[tuple[str, int]]:
    return [(choice, i) for i, choice in enumerate(decision.choices) if choice != NONE]


def _only(nothing: Active, row: int, *columns: int) -> Active:
    return (*nothing[:row], tuple(sorted(columns)), *nothing[row + 1 :])


def _tuples(kept: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(choices) for name, choices in kept.items()}
