"""Verbs: words of the command line, with their help and what they offer to completion."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from shutil import get_terminal_size
from textwrap import TextWrapper

CLOSING = (
    "nasrun {verb} --help GROUP=option lists the keys of an option. --cfg job prints the resolved "
    "configuration. -m runs one job per value of a,b,c."
)


def _nothing(before: Sequence[str]) -> Iterable[str]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Verb:
    """A verb of the command line, `nasrun NAME words...`.

    run: takes the words and returns the exit status; ValueError for wrong words. note: further text
    of the help. keys: its `key=value` words with the form of their values; about: their meaning.
    offers: possible next words after the given ones, besides its keys. composed: its words are
    overrides of the configuration, of which it reads the groups and keys `reads`. keeps: the parts
    of its work, such as rounds, that it keeps when it is interrupted and then repeated. parts:
    verbs one of which its first word names. stages: words one of which may come first.
    """

    name: str
    text: str
    examples: tuple[str, ...]
    run: Callable[[Sequence[str]], int]
    note: str = ""
    keys: Mapping[str, str] = field(default_factory=dict)
    about: Mapping[str, str] = field(default_factory=dict)
    offers: Callable[[Sequence[str]], Iterable[str]] = _nothing
    composed: bool = False
    reads: tuple[str, ...] = ()
    keeps: str = ""
    parts: Mapping[str, Verb] = field(default_factory=dict)
    stages: tuple[str, ...] = ()

    def meant(self, words: Sequence[str]) -> tuple[Verb, list[str]]:
        """Return the part that the first word names, or this verb, and the words behind it."""
        if words and words[0] in self.parts:
            return self.parts[words[0]], list(words[1:])
        return self, list(words)

    def asked(self, words: Sequence[str]) -> list[str]:
        """Return those of the words beside `--help` that ask for more than the verb's own help."""
        named = [word for word in words if word not in ("-h", "--help")]
        return named[1:] if named and named[0] in self.stages else named

    def describe(self, words: Sequence[str]) -> None:
        """Print the tables of `nasrun NAME --help GROUP=option`; ValueError for other words."""
        from nasrun.cli import screen
        from nasrun.cli.line import Line
        from nasrun.config import GROUPS, compose, described, key_of, root_of, search_folders
        from nasrun.display import table

        overrides = Line.parse(self.name, words).overrides if self.composed else tuple(words)
        groups = [key_of(override).split("@")[0] for override in overrides]
        known = [group for group in GROUPS if group in self.reads and group != "experiment"]
        for override, group in zip(overrides, groups, strict=True):
            if group not in (*known, "hydra.searchpath"):
                typed = f"GROUP=option of {', '.join(known)}" if known else "--help alone"
                raise ValueError(f"{override}: --help has nothing on this; type {typed}")
        if "evaluator" in groups and "strategy" not in groups:  # random: any scores its candidates
            overrides, groups = ("strategy=random", *overrides), ["strategy", *groups]
        chosen: dict[str, list[str]] = {}
        for override, group in zip(overrides, groups, strict=True):
            if group in known:
                place = key_of(override).partition("@")[2] or group
                if root_of(place) not in self.reads:  # its strategy serves the evaluator alone
                    place = f"{place}.{group}"
                option = f"{group}={override.partition('=')[2]}"
                chosen.setdefault(place, []).append(option)
        composed = compose(overrides)
        for place, options in chosen.items():
            rows = described(composed, place, search_folders(overrides))
            table(screen.console(), " ".join(options), ("key", "default", "what it is"), rows)

    def help(self) -> list[str]:
        """Return the lines of `nasrun NAME --help`, as wide as the terminal."""
        width = terminal_width()
        lines = [*_wrapped(f"nasrun {self.name}: {self.text}", width), ""]
        lines += [f"  {line}" for line in self.examples]
        if self.note:
            lines += ["", *_wrapped(self.note, width)]
        if self.parts:
            parts = [(name, part.text) for name, part in self.parts.items()]
            lines += ["", "parts:", *columns(parts, width)]
        if self.keys:
            known = [(f"{key}={form}", self.about.get(key, "")) for key, form in self.keys.items()]
            lines += ["", "keys:", *columns(known, width)]
        if not self.composed:
            return lines
        from nasrun.config import GROUPS, frame_keys, options

        groups = [group for group in GROUPS if group in self.reads]
        offered = [(group, ", ".join(options(group)) or "-") for group in groups]
        lines += ["", "groups (group=option, group.key=value):", *columns(offered, width)]
        frame = [
            (f"{key.key}={key.value}", key.comment) for key in frame_keys() if key.key in self.reads
        ]
        if frame:
            lines += ["", "keys with their defaults:", *columns(frame, width)]
        lines += ["", *_wrapped(CLOSING.format(verb=self.name), width)]
        return lines


def terminal_width() -> int:
    """Return the largest width of a line of help."""
    return get_terminal_size((100, 24)).columns - 1


def _wrapped(text: str, width: int, before: str = "") -> list[str]:
    """Return the text as lines broken between words; longer words stay whole."""
    filled = TextWrapper(
        max(width, 20), subsequent_indent=before, break_long_words=False, break_on_hyphens=False
    )
    return [line for part in text.split("\n") for line in filled.wrap(part)]


def columns(pairs: Sequence[tuple[str, str]], width: int) -> Iterator[str]:
    """Yield lines with a name and its text beside it, or below it if there is little room."""
    first = min(max(len(name) for name, _ in pairs), width * 2 // 5)
    for name, text in pairs:
        if len(name) > first and text:
            yield f"  {name}"
            name = ""
        indent = " " * (first + 4)
        yield from (_wrapped(f"  {name:{first}}  {text}".rstrip(), width, indent) or [""])
