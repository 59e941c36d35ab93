"""What a search space is: a list of decisions, their limits, and the network they describe."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

import torch
from torch import nn

from nasrun import ops
from nasrun.costs.cost import CandidateCosts, candidate_costs
from nasrun.genotype import NONE, AtMost, Decision, Genotype, Misfit
from nasrun.ops.noise import Noise
from nasrun.supernet.mixture import Mixture

if TYPE_CHECKING:
    from nasrun.supernet.stacked import StackedNetwork

Stem = Literal["cifar", "cifar_half", "imagenet"]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How large a network is built and with which extras.

    `channels` are those of the first cell, `layers` counts cells. Stems: `cifar` keeps the
    resolution, `cifar_half` halves it, `imagenet` divides it by eight. `affine` gives batch norms
    a learned scale and shift, `pool_norm` puts a batch norm after every pooling operation. An
    edge's candidates see one of `partial` parts of its channels, the others bypass them.
    """

    channels: int
    layers: int
    stem: Stem = "cifar"
    auxiliary: bool = False
    affine: bool = True
    pool_norm: bool = False
    partial: int = 1

    def __post_init__(self) -> None:
        if self.stem not in get_args(Stem):
            raise ValueError(f"stem={self.stem}: one of {', '.join(get_args(Stem))}")
        if self.channels < 2 or self.channels % 2:
            raise ValueError(f"channels={self.channels}: an even number from 2 on")
        if self.partial < 1 or self.channels % self.partial:
            raise ValueError(
                f"partial={self.partial} channels={self.channels}: a divisor of the channels"
            )
        if self.layers < 3:
            raise ValueError(f"layers={self.layers}: at least 3, so that each cell type occurs")


class Space(ABC):
    """Decisions and limits; frozen, without tensors.

    `limits` say how many of a group of decisions a derived network keeps (DARTS: two edges a
    node). Rules that decode or sample obey them; SNAS's per-edge argmax knowingly does not.
    `none_is_a_choice` says what `none` means: an operation like the others, that is drawn and
    weighed as they are (NAS-Bench-201), or what only a limit makes of an edge (DARTS).
    """

    words: ClassVar[str]
    """What the space is, in a user's words."""

    name: str
    decisions: tuple[Decision, ...]
    limits: tuple[AtMost, ...]
    none_is_a_choice: bool = False
    table: str | None = None
    """A file with the true accuracies of all genotypes, for reports (`nasrun.data.table`)."""
    layer_wise: bool = False
    """Whether a network has one layer a decision, whatever its width: then no other `layers` fit,
    and there is no auxiliary head."""
    sized_by: ClassVar[str | None] = None
    """The setting that says how many nodes or layers a genotype decides, where one does."""
    joined: Mapping[str, tuple[int, ...]] = MappingProxyType({})
    """The nodes whose maps the output of a cell joins, per cell type; a genotype may leave some
    out. None where outputs are made in another way."""

    @abstractmethod
    def restrict(self, choices: Mapping[str, tuple[str, ...]]) -> Space:
        """The subspace in which the named decisions have only these choices."""

    @abstractmethod
    def render(self, genotype: Genotype) -> str:
        """The genotype in the literature's notation, one line."""

    @abstractmethod
    def parse(self, text: str) -> Genotype:
        """The genotype of `render`'s notation; ValueError says what is wrong with the text."""

    @abstractmethod
    def cells(self, genotype: Genotype) -> dict[str, list[tuple[str, str, str]]]:
        """Per cell type the edges (from, to, operation) to draw, dropped ones left out."""

    @cached_property
    def rows(self) -> dict[str, int]:
        """The row of each decision in alphas and mixtures."""
        return {decision.name: row for row, decision in enumerate(self.decisions)}

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups of decisions in order: cell types, or one empty name."""
        return tuple(dict.fromkeys(decision.group for decision in self.decisions))

    def candidates(self, decision: Decision) -> tuple[str, ...]:
        """What a decision is made between: `none` only where it is a choice, or the only one."""
        if self.none_is_a_choice:
            return decision.choices
        return tuple(choice for choice in decision.choices if choice != NONE) or decision.choices

    def open_choices(self, genotype: Genotype | None) -> dict[str, tuple[str, ...]]:
        """Per decision what a network has: a genotype's one choice, or all when none is given."""
        if genotype is None:
            return {decision.name: decision.choices for decision in self.decisions}
        return {name: (choice,) for name, choice in self.check(genotype).items()}

    def check(self, genotype: Genotype) -> Genotype:
        """The same genotype if it answers exactly this space's decisions, else a ValueError.

        Misfit if it is one of a larger or a smaller space of this kind.
        """
        for decision in self.decisions:
            choice = genotype.get(decision.name, NONE)
            dropped = choice == NONE and not self.none_is_a_choice
            if decision.name in genotype and not dropped and choice not in decision.choices:
                near = get_close_matches(choice, decision.choices, 1)
                hint = f", did you mean {near[0]}?" if near else ""
                if choice in ops.known():
                    hint = "; choose one of them, or a space that has it"
                raise ValueError(
                    f"genotype has {decision.name}={choice}; this space allows "
                    f"{', '.join(decision.choices)}{hint}"
                )
        self._check_size(genotype)
        if missing := [name for name in self.rows if name not in genotype]:
            raise ValueError(
                f"genotype of space={genotype.space} has no decision {missing[0]}: "
                f"it is not one of space={self.name}"
            )
        extra = sorted(set(genotype) - set(self.rows))
        if extra:
            raise ValueError(f"genotype decides {extra[0]}, which space={self.name} does not have")
        for cell, nodes in genotype.concat.items():
            if not set(nodes) < set(self.joined.get(cell, ())):
                all_ = list(self.joined.get(cell, ()))
                raise ValueError(
                    f"genotype has {cell}_concat={list(nodes)}: give some of the nodes {all_}, or "
                    "leave it out where all are joined"
                )
        return genotype

    def _check_size(self, genotype: Genotype) -> None:
        if self.sized_by is None:
            return
        own, theirs = _nodes(self.rows), _nodes(genotype)
        if not theirs or not (theirs < own or own < theirs):
            return
        had, has = (sum(group == self.groups[0] for group, _ in nodes) for nodes in (own, theirs))
        first = next(
            name for name in (*genotype, *self.rows) if (name in genotype) != (name in self.rows)
        )
        raise Misfit(
            f"genotype has {self.sized_by}={has}, this space {self.sized_by}={had} ({first}); "
            f"set space.{self.sized_by}={has}",
            {self.sized_by: has},
        )

    def sample(self, generator: torch.Generator | None = None) -> Genotype:
        """A uniformly drawn genotype that keeps exactly as many operations as the limits say."""

        def draw(count: int) -> int:
            return int(torch.randint(count, (), generator=generator))

        choices = {}
        for decision in self.decisions:
            candidates = self.candidates(decision)
            choices[decision.name] = candidates[draw(len(candidates))]
        for limit in self.limits:
            order = torch.randperm(len(limit.decisions), generator=generator).tolist()
            for position in order[limit.count :]:
                choices[limit.decisions[position]] = NONE
        return Genotype(self.name, choices)

    def mutate(self, genotype: Genotype, generator: torch.Generator | None = None) -> Genotype:
        """The genotype with one decision changed, uniformly drawn: decision, then choice.

        An edge that is dropped comes back in place of another one of its limit. So both mutations
        of 1802.01548 occur, of operations and of inputs. Where nothing can change, nothing does.
        """

        def draw(options: Sequence[str]) -> str:
            return options[int(torch.randint(len(options), (), generator=generator))]

        moves = {
            decision.name: [c for c in self.candidates(decision) if c != genotype[decision.name]]
            for decision in self.decisions
        }
        possible = [name for name, options in moves.items() if options]
        if not possible:
            return genotype
        name = draw(possible)
        changed = {name: draw(moves[name])}
        for limit in self.limits:
            if name in limit.decisions and genotype[name] == NONE:
                kept = [other for other in limit.decisions if genotype[other] != NONE]
                if len(kept) == limit.count:
                    changed[draw(kept)] = NONE
        return genotype.changed(changed)

    def cheapest(
        self, price: Callable[[str, str], float], fixed: Mapping[str, str] | None = None
    ) -> Genotype:
        """The genotype with the least sum of prices, of those that decide as `fixed`.

        Limits keep as many operations as they say, the cheapest; an edge fixed to one may be
        dropped for that. Negative prices give the dearest.
        """
        fixed = fixed or {}
        chosen = {}
        for decision in self.decisions:
            name = decision.name
            open_ = (fixed[name],) if name in fixed else self.candidates(decision)
            chosen[name] = min(open_, key=lambda choice: price(name, choice))
        for limit in self.limits:
            kept = [name for name in limit.decisions if chosen[name] != NONE]
            ranked = sorted(kept, key=lambda name: (price(name, chosen[name]), name))
            chosen |= dict.fromkeys(ranked[limit.count :], NONE)
        return Genotype(self.name, chosen)


def _nodes(names: Iterable[str]) -> set[tuple[str, str]]:
    """Groups and nodes of these decisions."""
    decisions = (Decision(name, (NONE,)) for name in names)
    return {(decision.group, decision.node) for decision in decisions}


class SearchSpace(Space):
    """A space with one network that can hold all choices at once: a supernet."""

    words = "a space with a supernet, such as space=darts"
    adds_undrawn: ClassVar[bool] = False
    """Whether the released cell adds the weights of candidates that a search did not draw, zeros
    with a gradient, to what the drawn one gives (`nasrun.supernet.relaxation.HardGumbel`)."""

    @abstractmethod
    def restrict(self, choices: Mapping[str, tuple[str, ...]]) -> SearchSpace:
        """The subspace in which the named decisions have only these choices."""

    @abstractmethod
    def network(
        self,
        genotype: Genotype | None = None,
        *,
        inputs: int,
        outputs: int,
        layout: Layout | None = None,
    ) -> StackedNetwork:
        """The network of a genotype, or with all choices of every decision when none is given.

        It maps images (B, inputs, H, W) to a tuple of logits (B, outputs): the classifier's, then
        in training the auxiliary head's if `layout` has one. `layout` defaults to the search's.
        """

    @property
    @abstractmethod
    def search_layout(self) -> Layout:
        """The search network's layout: `network`'s default."""

    @property
    @abstractmethod
    def published_layout(self) -> Layout:
        """The layout of the networks that papers on this space report parameters of."""

    @property
    def width(self) -> int:
        """The number of columns of alphas and mixtures: the most choices a decision has."""
        return max(len(decision.choices) for decision in self.decisions)

    def costs(
        self, *, inputs: int, outputs: int, size: int, layout: Layout | None = None
    ) -> CandidateCosts:
        """What every candidate costs in the network with all choices, on square images.

        `size` is their side in pixels; the network needs `nasrun.costs.cost.Candidates`.
        """
        with torch.device("meta"):
            network = self.network(inputs=inputs, outputs=outputs, layout=layout)
            weights = torch.zeros(len(self.decisions), self.width)
        idle = Mixture(weights, ((),) * len(self.decisions))
        return candidate_costs(network, self.decisions, idle, inputs=inputs, size=size)

    def size(self, genotype: Genotype) -> tuple[int, ...]:
        """How many operations with weights of their own each group keeps: MiLeNAS's (n, r)."""
        counts = dict.fromkeys(self.groups, 0)
        for decision in self.decisions:
            counts[decision.group] += ops.parametric(genotype[decision.name])
        return tuple(counts.values())

    def one_hot(self, genotype: Genotype, device: torch.device | None = None) -> Mixture:
        """The mixture that runs one genotype's operations with weight one inside a supernet."""
        assert not genotype.concat, "a supernet joins all nodes"
        weights = torch.zeros(len(self.decisions), self.width)
        active: list[tuple[int, ...]] = []
        for row, decision in enumerate(self.decisions):
            choice = genotype[decision.name]
            if choice == NONE:
                active.append(())
                continue
            column = decision.choices.index(choice)
            weights[row, column] = 1.0
            active.append((column,))
        return Mixture(weights.to(device), tuple(active))


@contextmanager
def batch_statistics(network: nn.Module) -> Iterator[None]:
    """Evaluation mode, but batch norms use the batch and leave their buffers alone.

    The running statistics of shared weights mix all candidates; so a supernet is measured by the
    batch (DARTS, 1806.09055). Every noise operation draws numbers of its own, the same in every
    batch, whatever else runs: so two measurements differ by nothing but what they measure.
    """
    modes = {module: module.training for module in network.modules()}
    norms = [module for module in modes if isinstance(module, nn.BatchNorm2d)]
    noises = [module for module in modes if isinstance(module, Noise)]
    network.eval()
    for norm in norms:
        norm.training, norm.track_running_stats = True, False
    for seed, noise in enumerate(noises):
        noise.repeat(seed)
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
        for noise in noises:
            noise.repeat(None)
        for module, training in modes.items():
            module.training = training
