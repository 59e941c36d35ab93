"""What can be mixed: a space each of whose decisions owns the modules that it builds.

Every tensor of a network belongs to one decision at most, and to the same one in all networks of
the space. A decision's choice and the tensors of its modules so move between networks together, and
what comes out loads strictly (PBT-NAS, 2307.15621).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property

from torch import nn

from nasrun.genotype import Decision, Genotype
from nasrun.spaces.base import Space


class ModularSpace(Space):
    """Decisions that own modules; `owned` maps a decision to the prefixes of its tensors' names.

    A decision without modules (an activation, a switch) owns nothing.
    """

    words = "a space whose layers can be mixed: space=gan, gan_hard, drqv2 or drqv2_state"
    limits = ()
    none_is_a_choice = True
    choices: Mapping[str, tuple[str, ...]]
    """Decisions whose choices are narrowed."""

    @abstractmethod
    def network(self, genotype: Genotype, *, inputs: int, outputs: int) -> nn.Module:
        """The freshly initialised network of a genotype, drawn from torch's global generator.

        `inputs` and `outputs` are the task's.
        """

    @property
    @abstractmethod
    def owned(self) -> Mapping[str, tuple[str, ...]]:
        """Decision -> prefixes of the names of the tensors that move with it."""

    def prefixes(self, decisions: Sequence[str]) -> tuple[str, ...]:
        """How the names of the decisions' tensors begin."""
        return tuple(f"{prefix}." for name in decisions for prefix in self.owned[name])

    def narrowed(self, decisions: Sequence[Decision]) -> tuple[Decision, ...]:
        """The decisions with the choices of `choices`; ValueError names one that does not fit."""
        known = {decision.name: decision for decision in decisions}
        for name, kept in self.choices.items():
            if name not in known:
                raise ValueError(
                    f"choices: {name} is no decision, the first is {next(iter(known))}"
                )
            wrong = [choice for choice in kept if choice not in known[name].choices]
            if wrong or not kept:
                raise ValueError(
                    f"choices.{name}={list(kept)}: some of {', '.join(known[name].choices)}"
                )
        return tuple(
            Decision(name, tuple(self.choices.get(name, decision.choices)))
            for name, decision in known.items()
        )

    # How a network is written: its groups apart by ";", "group decision=choice decision=choice".

    def render(self, genotype: Genotype) -> str:
        parts = []
        for group in self.groups:
            named = [d.name for d in self.decisions if d.group == group]
            words = [f"{name.rpartition('/')[2]}={genotype[name]}" for name in named]
            parts.append(" ".join([group, *words]))
        return "; ".join(parts)

    def parse(self, text: str) -> Genotype:
        chosen: dict[str, str] = {}
        for part in filter(None, map(str.strip, text.strip().split(";"))):
            group, *words = part.split()
            for word in words:
                name, equals, choice = word.partition("=")
                if not equals:
                    raise ValueError(f"genotype: {word} in {group} is no decision=choice")
                chosen[f"{group}/{name}"] = choice
        return self.check(Genotype(self.name, chosen))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The decisions' names in order."""
        return tuple(decision.name for decision in self.decisions)
