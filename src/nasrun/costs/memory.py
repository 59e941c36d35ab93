"""How much memory a search takes, by shape alone: networks on the meta device compute nothing.

A step is played through there and every tensor's bytes are counted while it lives: activations kept
for backward, gradients, and what an operation needs for a moment. What shapes do not tell (the
libraries' scratch space, an allocator's waste) is a factor that is measured:
scripts/check_memory.py.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from nasrun.budget import Budget
from nasrun.genotype import NONE, Decision, Genotype
from nasrun.spaces.base import ClassifierSpace
from nasrun.spaces.layout import Layout
from nasrun.spaces.supernet import SupernetSpace, batch_statistics
from nasrun.supernet.mixture import Mixture
from nasrun.tasks.base import ImageTask, OptimizerFactory

Active = tuple[tuple[int, ...], ...]
"""The columns that run, for every decision."""

META = torch.device("meta")


class Ledger(TorchDispatchMode):
    """Counts the bytes of all tensors that are made inside it: those alive, and the most so far.

    `saved` are those that autograd keeps for a backward pass, whether or not one can follow.
    Tensors `given` from before (see `sizes`) are not counted, but `read` has the bytes of those
    that were used.
    """

    def __init__(self, given: Mapping[int, int]) -> None:
        super().__init__()
        self.alive = self.most = 0
        self._given = given
        self._read: set[int] = set()
        self._made = WeakIdKeyDictionary()
        self._saved: dict[int, torch.UntypedStorage] = {}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._save, lambda tensor: tensor)

    @property
    def saved(self) -> int:
        return sum(storage.nbytes() for storage in self._saved.values())

    @property
    def read(self) -> int:
        return sum(self._given[identity] for identity in self._read)

    def __enter__(self) -> Ledger:
        self._hooks.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._hooks.__exit__(*error)

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        for leaf in args:
            if isinstance(leaf, Tensor) and _identity(leaf) in self._given:
                self._read.add(_identity(leaf))
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._note(leaf)
        return result

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self._made or _identity(tensor) in self._given:
            return
        self._made[storage] = True
        size = storage.nbytes()
        self.alive += size
        self.most = max(self.most, self.alive)
        weakref.finalize(storage, self._freed, size)

    def _freed(self, size: int) -> None:
        self.alive -= size

    def _save(self, tensor: Tensor) -> Tensor:
        if _identity(tensor) not in self._given:
            self._saved[_identity(tensor)] = tensor.untyped_storage()
        return tensor


@dataclass(frozen=True)
class Additive:
    """Bytes as a sum: `base`, and `each` for a choice that is kept besides."""

    base: int
    each: Mapping[str, Mapping[str, int]]

    def of(self, kept: Mapping[str, Sequence[str]]) -> int:
        """The bytes of a subspace."""
        return self.base + sum(
            self.each[name][choice] for name, choices in kept.items() for choice in choices
        )


class Shapes:
    """A space's search network without its numbers, asked what parts of it take.

    `slots` are the tensors as large as a parameter that the weights' optimizer keeps for it,
    `number` is the type of activations. Without a `layout` it is the space's.
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
    ) -> None:
        self.space, self.layout = space, layout
        self.inputs, self.outputs, self.size, self.slots = inputs, outputs, size, slots
        with META:
            self.network = space.network(inputs=inputs, outputs=outputs, layout=layout)
        self.type = number
        self.network.to(number)
        self._given = sizes([*self.network.parameters(), *self.network.buffers()])
        self._weights = sizes(self.network.parameters())

    @classmethod
    def of(
        cls,
        space: SupernetSpace,
        task: ImageTask,
        budget: Budget,
        optimizer: OptimizerFactory,
        layout: Layout | None = None,
    ) -> Shapes:
        """Of a search on a task's images, its weights moved by this optimizer."""
        return cls(
            space,
            inputs=task.inputs,
            outputs=task.outputs,
            size=task.size,
            slots=optimizer_slots(optimizer),
            number=_number(budget),
            layout=layout,
        )

    def active(self, kept: Mapping[str, Sequence[str]]) -> Active:
        """The columns of these choices, all of a decision that is not named."""
        return tuple(
            tuple(
                column
                for column, choice in enumerate(decision.choices)
                if choice != NONE and choice in kept.get(decision.name, decision.choices)
            )
            for decision in self.space.decisions
        )

    def weight_bytes(self, kept: Mapping[str, Sequence[str]]) -> int:
        """The parameters of a subspace, with their optimizer's state but without gradients."""
        with META:
            network = self.space.restrict(_tuples(kept)).network(
                inputs=self.inputs, outputs=self.outputs, layout=self.layout
            )
        numbers = sum(parameter.numel() for parameter in network.parameters())
        return round(4 * numbers * (1 + self.slots))

    def training(self, kept: Mapping[str, Sequence[str]], batch_size: int, graphs: int = 1) -> int:
        """The most that one step on this subspace takes, its weights included.

        `graphs` forward passes are alive before the first gradient is taken.
        """
        active = self.active(kept)
        self.network.train()
        with Ledger(self._given) as ledger:
            weights = torch.empty(len(active), self.space.width, device=META, dtype=self.type)
            weights.requires_grad_()
            loss = sum(self._loss(weights, active, batch_size) for _ in range(graphs))
            assert isinstance(loss, Tensor)
            moved = [weights, *self.network.parameters()]
            gradients = torch.autograd.grad(loss, moved, allow_unused=True)
            del loss, gradients
        return self.weight_bytes(kept) + ledger.most

    def evaluation(self, kept: Mapping[str, Sequence[str]], batch_size: int) -> int:
        """The most that measuring this subspace takes, its weights included."""
        active = self.active(kept)
        with batch_statistics(self.network), torch.no_grad(), Ledger(self._given) as ledger:
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
        """The most that training on this subspace or measuring it takes."""
        training = self.training(kept, batch_size, graphs)
        return max(training, self.evaluation(kept, test_batch))

    def single(
        self, kept: Mapping[str, Sequence[str]], batch_size: int, test_batch: int, graphs: int = 1
    ) -> int:
        """The most that it takes where a step of training runs one choice of every decision.

        Of each the choice that adds most; the weights of all are there, and measuring runs all.
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
        """The network whose choices add most to a step of training."""
        each = self.additive(batch_size).each
        return self.space.cheapest(lambda name, choice: -each[name][choice])

    def additive(self, batch_size: int, graphs: int = 1) -> Additive:
        """What every choice adds to a step: activations kept, weight, gradient, optimizer state.

        A layer's input is kept once however many choices read it, so it counts to the base; whether
        they do is seen by the first two. The difference between the sum and `training` is what
        operations need for a moment.
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
        """What forward passes leave for backward, and weights, gradients and optimizer state."""
        weights = torch.empty(len(active), self.space.width, device=META, dtype=self.type)
        weights.requires_grad_()
        ledger = Ledger(self._weights)
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
    layout: Layout,
    task: ImageTask,
    *,
    budget: Budget,
    batch_size: int,
    test_batch: int,
    optimizer: OptimizerFactory,
) -> int:
    """The most that training or measuring one network takes, by shapes, its weights included."""
    inputs, size, number = task.inputs, task.size, _number(budget)
    with META:
        network = space.network(genotype, inputs=inputs, outputs=task.outputs, layout=layout)
        network.to(number)
    weights = list(network.parameters())
    given = sizes([*weights, *network.buffers()])
    with Ledger(given) as training, META:
        images = torch.empty(batch_size, inputs, size, size, dtype=number)
        labels = torch.empty(batch_size, dtype=torch.long)
        loss = torch.stack([F.cross_entropy(y, labels) for y in network.train()(images)]).sum()
        # a cell may leave one of its inputs unread
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
        del gradients
    with torch.no_grad(), Ledger(given) as measuring, META:
        network.eval()(torch.empty(test_batch, inputs, size, size, dtype=number))
    kept = 4 * sum(weight.numel() for weight in weights) * (1 + optimizer_slots(optimizer))
    return round(kept) + max(training.most, measuring.most)


def _number(budget: Budget) -> torch.dtype:
    """The type of activations."""
    return torch.bfloat16 if budget.resolved["precision"] == "bf16" else torch.float32


def optimizer_slots(factory: OptimizerFactory) -> float:
    """How many numbers an optimizer keeps for each that it moves: SGD with momentum 1, Adam 2."""
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


def sizes(tensors: Iterable[Tensor]) -> dict[int, int]:
    """The bytes of tensors, by what a ledger knows them by."""
    return {_identity(tensor): tensor.untyped_storage().nbytes() for tensor in tensors}


def _identity(tensor: Tensor) -> int:
    """What tensors over the same numbers have in common, while they live."""
    return tensor.untyped_storage()._cdata
