"""The base of spaces of named modules: a notation, and how their decisions are narrowed."""

from __future__ import annotations

from collections.abc import Sequence

from nasrun.genotype import Decision, Genotype
from nasrun.spaces.inheritance import InheritingSpace


class ModularSpace(InheritingSpace):
    """Decisions without limits, in which `none` is a choice like the others."""

    limits = ()
    none_is_a_choice = True

    def narrowed(self, decisions: Sequence[Decision]) -> tuple[Decision, ...]:
        """Return the decisions narrowed to `choices`; ValueError names a choice that is unknown."""
        known = {decision.name: decision for decision in decisions}
        for name, kept in self.choices.items():
            if name not in known:
                raise ValueError(
                    f"choices: {name} is not a decision; use names such as {next(iter(known))}"
                )
            wrong = [choice for choice in kept if choice not in known[name].choices]
            if wrong or not kept:
                raise ValueError(
                    f"choices.{name}={list(kept)}: use some of {', '.join(known[name].choices)}"
                )
        return tuple(
            Decision(name, tuple(self.choices.get(name, decision.choices)))
            for name, decision in known.items()
        )

    # The notation: "group decision=choice decision=choice", groups separated by ";".

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
                    raise ValueError(f"genotype: {word} in {group}: expected decision=choice")
                if f"{group}/{name}" in chosen:
                    raise ValueError(f"genotype has {group}/{name} twice; give it once")
                chosen[f"{group}/{name}"] = choice
        return self.check(Genotype(self.name, chosen))
