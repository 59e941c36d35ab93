"""A verb: one word of the command line, with its help and what it offers to completion."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field


def _nothing(before: Sequence[str]) -> Iterable[str]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Verb:
    """What `nasrun NAME words...` does.

    run: the exit status of its words; ValueError for wrong ones. note: what its help says besides.
    keys: its `key=value` words with the form of their values. offers: the words that may come after
    those that stand already. composed: its words are overrides of the configuration, of which it
    reads `reads`.
    """

    name: str
    text: str
    examples: tuple[str, ...]
    run: Callable[[Sequence[str]], int]
    note: str = ""
    keys: Mapping[str, str] = field(default_factory=dict)
    offers: Callable[[Sequence[str]], Iterable[str]] = _nothing
    composed: bool = False
    reads: tuple[str, ...] = ()

    def describe(self, words: Sequence[str]) -> None:
        """The tables of `nasrun NAME --help GROUP=option`; ValueError for another word."""
        from nasrun.cli import screen
        from nasrun.cli.line import Line
        from nasrun.config import GROUPS, compose, described, key_of, search_folders
        from nasrun.display import table

        overrides = Line.parse(self.name, words).overrides if self.composed else tuple(words)
        groups = [key_of(override).split("@")[0] for override in overrides]
        known = [group for group in GROUPS if group in self.reads and group != "experiment"]
        for override, group in zip(overrides, groups, strict=True):
            if group not in (*known, "hydra.searchpath"):
                told = f"one of the groups {', '.join(known)}" if known else "no words"
                raise ValueError(f"{override}: --help tells of GROUP=option; type {told}")
        composed = compose(overrides)
        for override, group in zip(overrides, groups, strict=True):
            if group in known:
                rows = described(composed, group, search_folders(overrides))
                table(screen.console(), override, ("key", "default", "what it is"), rows)

    def help(self) -> list[str]:
        """The lines of `nasrun NAME --help`."""
        lines = [f"nasrun {self.name}: {self.text}", "", *(f"  {line}" for line in self.examples)]
        if self.note:
            lines += ["", self.note]
        if self.keys:
            forms = ", ".join(f"{key}={form}" for key, form in self.keys.items())
            lines += ["", f"keys: {forms}"]
        if not self.composed:
            return lines
        from nasrun.config import GROUPS, options

        lines += ["", "groups (group=option, group.key=value):"]
        groups = [group for group in GROUPS if group in self.reads]
        lines += [f"  {group:11}{', '.join(options(group)) or '-'}" for group in groups]
        lines += ["", "keys: " + ", ".join(key for key in self.reads if key not in GROUPS)]
        lines += ["", f"nasrun {self.name} --help GROUP=option tells the keys of an option."]
        lines += ["--cfg job prints the resolved configuration, -m sweeps over a,b,c values."]
        return lines
