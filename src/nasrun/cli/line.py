"""A command line of stages, taken apart: overrides, Hydra's flags, trusted packages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from nasrun.cli.words import near, packages
from nasrun.pipeline.stages import INSIDE

ASKED = {
    **dict.fromkeys(("--cfg", "-c"), ("job", "hydra", "all")),
    **dict.fromkeys(
        ("--info", "-i"), ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
    ),
}
"""Hydra's flags that print something instead of running, and what they can print."""
HYDRA_FLAGS = ("--cfg", "-c", "--info", "-i", "--package", "-p", "--resolve", "--hydra-help")


@dataclass(frozen=True)
class Line:
    """The words behind a verb of stages; with `only_foreseen` it is the verb of `plan VERB`."""

    verb: str
    only_foreseen: bool
    overrides: tuple[str, ...]
    flags: tuple[str, ...]
    multirun: bool
    trusted: tuple[str, ...]

    @classmethod
    def parse(cls, verb: str, words: Sequence[str], *, only_foreseen: bool = False) -> Line:
        """Sort the words into overrides, Hydra's flags and trusted packages."""
        overrides, flags, trusted, multirun = [], [], [], False
        takes_value = False
        for word in words:
            if takes_value and "=" not in word:
                flags.append(word)
                takes_value = False
            elif word in ("-m", "--multirun"):
                multirun = True
            elif word.startswith("-"):
                if word.split("=")[0] not in HYDRA_FLAGS:
                    hint = near(word, ("--multirun", "--help", *HYDRA_FLAGS))
                    raise ValueError(f"{word}: unknown flag{hint}")
                flags.append(word)
                takes_value = word in ("--cfg", "-c", "--package", "-p", "--info", "-i")
            elif word.startswith("trust="):
                trusted += packages(word.removeprefix("trust="))
            else:
                overrides.append(_override(word))
        _check_flags(flags)
        return cls(verb, only_foreseen, tuple(overrides), tuple(flags), multirun, tuple(trusted))

    def typed(self, key: str) -> str | None:
        """The value typed for a key, `None` if it was not."""
        found = [o.partition("=")[2] for o in self.overrides if o.partition("=")[0] == key]
        if not found or found[-1] == "null":
            return None
        text = found[-1]
        quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
        return text[1:-1] if quoted else text

    def split(self) -> tuple[list[str], list[str]]:
        """The overrides that are nasrun's, and those that are Hydra's own."""
        own = [o for o in self.overrides if not re.match("hydra[./]", o.lstrip("+~"))]
        return own, [o for o in self.overrides if o not in own]


def _override(word: str) -> str:
    """The word as Hydra takes it: `method=`, and groups that are a part of another one."""
    if word.startswith("method="):
        return "selector=" + word.removeprefix("method=")
    for inner, outer in INSIDE.items():
        if word.startswith(f"{inner}="):
            return f"{inner}@{outer}" + word.removeprefix(inner)
        if word.startswith(f"{inner}."):
            return f"{outer}.{word}"
    return word


def _check_flags(flags: Sequence[str]) -> None:
    """ValueError for what Hydra would answer with a page, or take for a run without a verb."""
    flags = [part for flag in flags for part in flag.split("=", 1)]
    for flag, value in pairwise([*flags, "nothing"]):
        if flag in ASKED and value not in ASKED[flag]:
            raise ValueError(f"{flag} {value}: expected one of {', '.join(ASKED[flag])}")
    if flags and not {*ASKED, "--hydra-help"} & set(flags):
        raise ValueError(f"{flags[0]}: has no effect without --cfg job")
