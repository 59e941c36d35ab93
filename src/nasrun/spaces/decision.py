"""Spaces that can be searched: a list of decisions and their limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from importlib import import_module
from itertools import chain, product, zip_longest
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from nasrun import ops
from nasrun.genotype import NONE, AtMost, Decision, Genotype, Misfit
from nasrun.spaces.base import DrawnSpace

Own = TypeVar("Own", bound="DecisionSpace")

UnaryCost = Callable[[str, str], float]
"""The cost of a decision's choice alone, which may be negative; those of a genotype add up."""
MODULES = "modules of the operations"
"""Key of them in what a space is sent as."""


class DecisionSpace(DrawnSpace):
    """Decisions and limits.

    `limits` say how many of a group of decisions a derived network keeps (DARTS: two edges per
    node). Rules that decode or sample obey them; SNAS's per-edge argmax knowingly does not. If
    `none_is_a_choice`, `none` is an operation like the others, sampled and weighed as they are
    (NAS-Bench-201); else an edge becomes `none` only by a limit (DARTS).
    """

    words = "decisions to search"
    options = "any space of `nasrun list space` but morph"

    decisions: tuple[Decision, ...]
    limits: tuple[AtMost, ...]
    choices: Mapping[str, tuple[str, ...]]
    """The choices left to decisions that are narrowed."""
    none_is_a_choice: bool = False
    sized_by: ClassVar[str | None] = None
    """Name of the setting with the number of nodes or layers that a genotype decides, if any."""
    joined: Mapping[str, tuple[int, ...]] = MappingProxyType({})
    """The nodes whose maps the output of a cell joins, per cell type; a genotype may leave some
    out. Empty if the space computes outputs differently."""

    def __getstate__(self) -> dict[str, Any]:
        """Return the settings and the modules of the operations, which may be a user's own."""
        choices = (choice for decision in self.decisions for choice in decision.choices)
        return {**vars(self), MODULES: ops.modules(choices)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Import the modules, so that another process knows the operations, too."""
        for module in state.pop(MODULES):
            import_module(module)
        vars(self).update(state)

    def restrict(self: Own, choices: Mapping[str, tuple[str, ...]]) -> Own:
        """Return the subspace in which the named decisions have only these choices.

        A space is a dataclass whose field `choices` narrows its decisions.
        """
        left = {**self.choices, **choices}
        return replace(self, choices=left)  # type: ignore[type-var]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the decisions, in order."""
        return tuple(decision.name for decision in self.decisions)

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row of each decision in alphas and mixtures."""
        return {decision.name: row for row, decision in enumerate(self.decisions)}

    @property
    def groups(self) -> tuple[str, ...]:
        """Groups of decisions, in order: cell types, or one empty name."""
        return tuple(dict.fromkeys(decision.group for decision in self.decisions))

    @cached_property
    def depths(self) -> tuple[tuple[str, ...], ...]:
        """The decisions by depth: nodes of cells, those of all cell types together, or layers.

        The nodes of a group are taken in order; a limit's decisions are all of one depth.
        """
        nodes: dict[str, dict[str, list[str]]] = {}
        for decision in self.decisions:
            nodes.setdefault(decision.group, {}).setdefault(decision.node, []).append(decision.name)
        levels = zip_longest(*(found.values() for found in nodes.values()), fillvalue=())
        return tuple(tuple(chain.from_iterable(level)) for level in levels)

    def candidates(self, decision: Decision) -> tuple[str, ...]:
        """Return the choices to decide between; `none` only if it is a choice, or the only one."""
        if self.none_is_a_choice:
            return decision.choices
        return tuple(choice for choice in decision.choices if choice != NONE) or decision.choices

    def open_choices(self, genotype: Genotype | None) -> dict[str, tuple[str, ...]]:
        """Return per decision the choices in a network: the genotype's, or all if it is `None`."""
        if genotype is None:
            return {decision.name: decision.choices for decision in self.decisions}
        return {name: (choice,) for name, choice in self.check(genotype).items()}

    def has(self, genotype: Genotype) -> bool:
        """Return whether every choice is one of these decisions'; an edge may always be dropped."""
        left = self.open_choices(None)
        return all(choice in (*left[name], NONE) for name, choice in genotype.items())

    def check(self, genotype: Genotype) -> Genotype:
        for decision in self.decisions:
            choice = genotype.get(decision.name, NONE)
            dropped = choice == NONE and not self.none_is_a_choice
            if decision.name in genotype and not dropped and choice not in decision.choices:
                raise ValueError(
                    f"genotype has {decision.name}={choice}; this space allows "
                    f"{', '.join(decision.choices)}; choose one of them, or a space that has "
                    f"{choice}"
                )
        self._check_size(genotype)
        if missing := [name for name in self.rows if name not in genotype]:
            raise ValueError(
                f"genotype of space={genotype.space} does not decide {missing[0]}, which "
                f"space={self.name} has; give it, or the space in which it was found"
            )
        extra = sorted(set(genotype) - set(self.rows))
        if extra:
            raise ValueError(
                f"genotype decides {extra[0]}, which space={self.name} does not have; give the "
                "space in which it was found"
            )
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
        if has == had:
            return
        first = next(
            name for name in (*genotype, *self.rows) if (name in genotype) != (name in self.rows)
        )
        raise Misfit(
            f"genotype has {self.sized_by}={has}, this space {self.sized_by}={had} ({first})",
            {self.sized_by: has},
        )

    def sample(self, generator: torch.Generator | None = None) -> Genotype:
        """Return a genotype, each decision drawn uniformly, with as many operations as limits say.

        If `none` is a choice, it may keep fewer; what is too many is dropped at random.
        """

        def draw(count: int) -> int:
            return int(torch.randint(count, (), generator=generator))

        choices = {}
        for decision in self.decisions:
            candidates = self.candidates(decision)
            choices[decision.name] = candidates[draw(len(candidates))]
        for limit in self.limits:
            choices |= self._dropped(limit, choices, generator)
        return Genotype(self.name, choices)

    def _dropped(
        self, limit: AtMost, choices: Mapping[str, str], generator: torch.Generator | None
    ) -> dict[str, str]:
        """Return drawn decisions of a limit that keep no operation, as many as are too many.

        If `none` is a choice, decisions that do not have it are kept.
        """
        order = torch.randperm(len(limit.decisions), generator=generator).tolist()
        names = [limit.decisions[position] for position in order]
        if self.none_is_a_choice:
            names = [name for name in names if choices[name] != NONE]
            names.sort(key=self._droppable)
        return dict.fromkeys(names[limit.count :], NONE)

    def _droppable(self, name: str) -> bool:
        """Return whether a decision may keep no operation."""
        return not self.none_is_a_choice or NONE in self.decisions[self.rows[name]].choices

    def stratified(self, count: int, generator: torch.Generator) -> list[Genotype]:
        """Return `count` genotypes in which a decision's candidates occur equally often, up to one.

        This holds before limits drop decisions; the dropped ones are drawn at random.
        """
        columns = {}
        for decision in self.decisions:
            candidates = self.candidates(decision)
            column = torch.arange(len(candidates)).repeat(count // len(candidates))
            rest = torch.randperm(len(candidates), generator=generator)[: count % len(candidates)]
            column = torch.cat([column, rest])[torch.randperm(count, generator=generator)]
            columns[decision.name] = [candidates[place] for place in column.tolist()]
        for member in range(count):
            for limit in self.limits:
                drawn = {name: column[member] for name, column in columns.items()}
                for name in self._dropped(limit, drawn, generator):
                    columns[name][member] = NONE
        return [
            Genotype(self.name, {name: column[member] for name, column in columns.items()})
            for member in range(count)
        ]

    def mutate(self, genotype: Genotype, generator: torch.Generator | None = None) -> Genotype:
        """Return the genotype with one uniformly drawn decision changed to a drawn choice.

        If the decision is a dropped edge, another edge of its limit is dropped instead. So both
        mutations of 1802.01548 occur, of operations and of inputs. If nothing can change, the
        genotype is returned as it is.
        """

        def draw(options: Sequence[str]) -> str:
            return options[int(torch.randint(len(options), (), generator=generator))]

        moves = self._moves(genotype)
        if not moves:
            return genotype
        name = draw(list(moves))
        changed = {name: draw(moves[name])}
        for kept in self._rivals(genotype, name):
            changed[draw(kept)] = NONE
        return genotype.changed(changed)

    def neighbours(self, genotype: Genotype) -> Iterator[Genotype]:
        """Yield every genotype that `mutate` can make of this one."""
        for name, options in self._moves(genotype).items():
            rivals = self._rivals(genotype, name)
            for choice, dropped in product(options, product(*rivals)):
                yield genotype.changed({name: choice, **dict.fromkeys(dropped, NONE)})

    def _moves(self, genotype: Genotype) -> dict[str, list[str]]:
        """Return the other choices of each decision that can change."""
        others = {
            decision.name: [c for c in self.candidates(decision) if c != genotype[decision.name]]
            for decision in self.decisions
        }
        return {
            name: options
            for name, options in others.items()
            if options and all(self._rivals(genotype, name))
        }

    def _rivals(self, genotype: Genotype, name: str) -> list[list[str]]:
        """Return, per full limit of this decision, the edges one of which must be dropped."""
        rivals = []
        for limit in self.limits:
            if name in limit.decisions and genotype[name] == NONE:
                kept = [other for other in limit.decisions if genotype[other] != NONE]
                if len(kept) >= limit.count:
                    rivals.append([other for other in kept if self._droppable(other)])
        return rivals

    def cheapest(self, price: UnaryCost, fixed: Mapping[str, str] | None = None) -> Genotype:
        """Return the genotype with the smallest sum of prices among those with `fixed` decisions.

        Limits keep the cheapest operations, as many as they say; this may drop a fixed edge.
        Negative prices give the most expensive genotype.
        """
        fixed = fixed or {}
        chosen = {}
        for decision in self.decisions:
            name = decision.name
            open_ = (fixed[name],) if name in fixed else self.candidates(decision)
            chosen[name] = min(open_, key=lambda choice: price(name, choice))
        for limit in self.limits:
            kept = [name for name in limit.decisions if chosen[name] != NONE]
            ranked = sorted(
                kept, key=lambda name: (self._droppable(name), price(name, chosen[name]), name)
            )
            chosen |= dict.fromkeys(ranked[limit.count :], NONE)
        return Genotype(self.name, chosen)

    @cached_property
    def tied(self) -> tuple[tuple[str, ...], ...]:
        """All decisions in groups that share a limit; exchanging whole groups obeys the limits."""
        bound = {name: limit.decisions for limit in self.limits for name in limit.decisions}
        return tuple(dict.fromkeys(bound.get(name, (name,)) for name in self.names))

    def features(self, genotype: Genotype) -> Tensor:
        """Return a vector that encodes the genotype for a model, (features,), float32.

        Each decision is one-hot over its choices (all zeros for a dropped edge if `none` is not a
        choice); then each cell type has a one for each node that its output joins. All genotypes of
        the space have equally many features.
        """
        chosen = [
            genotype[decision.name] == choice
            for decision in self.decisions
            for choice in decision.choices
        ]
        joined = [
            node in genotype.concat.get(cell, nodes)
            for cell, nodes in self.joined.items()
            for node in nodes
        ]
        return torch.tensor([*chosen, *joined], dtype=torch.float32)


def _nodes(names: Iterable[str]) -> set[tuple[str, str]]:
    """Return the (group, node) pairs of the decisions."""
    decisions = (Decision(name, (NONE,)) for name in names)
    return {(decision.group, decision.node) for decision in decisions}
