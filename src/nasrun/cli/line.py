"""A command line of stages, parsed into overrides, Hydra's flags and trusted packages."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from nasrun.config.stages import INSIDE
from nasrun.config.words import did_you_mean, key_of, packages, quoted, root_of

ASKED = {
    **dict.fromkeys(("--cfg", "-c"), ("job", "hydra", "all")),
    **dict.fromkeys(
        ("--info", "-i"), ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
    ),
}
"""Hydra's flags that print something instead of running, and what they can print."""
HOME = re.compile(r"(?<=[=,\[])(file://)?(~(?:/[^,\]]*)?)(?=[,\]]|$)")
"""A value, or one of several, that is a path in the home folder."""
HYDRA_FLAGS = ("--cfg", "-c", "--info", "-i", "--package", "-p", "--resolve", "--hydra-help")


@dataclass(frozen=True)
class Line:
    """The words after a verb of stages; `only_foreseen` means `plan VERB`.

    words: the words as typed; empty for a job of a sweep.
    """

    verb: str
    only_foreseen: bool
    overrides: tuple[str, ...]
    flags: tuple[str, ...]
    multirun: bool
    trusted: tuple[str, ...]
    words: tuple[str, ...] = ()

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
                    hint = did_you_mean(word, ("--multirun", "--help", *HYDRA_FLAGS))
                    raise ValueError(f"{word}: unknown flag{hint}")
                flags.append(word)
                takes_value = word in ("--cfg", "-c", "--package", "-p", "--info", "-i")
            elif word.startswith("trust="):
                trusted += packages(word.removeprefix("trust="))
            else:
                overrides.append(_override(word))
        _check_flags(flags)
        taken = (tuple(overrides), tuple(flags), multirun, tuple(trusted))
        return cls(verb, only_foreseen, *taken, tuple(words))

    def refuse_flags(self) -> None:
        """Raise ValueError for any flag of Hydra's, for a verb that takes none."""
        if self.flags or self.multirun:
            flag = self.flags[0] if self.flags else "-m"
            raise ValueError(f"{self.verb} {flag}: takes no flags; leave it out")

    def refuse_idle(self, reads: Sequence[str]) -> None:
        """Raise ValueError for an override whose key is not below one of those that are read."""
        for override in self.overrides:
            if root_of(key_of(override)) not in (*reads, "hydra"):
                raise ValueError(f"{override}: has no effect on `nasrun {self.verb}`; leave it out")

    @property
    def of_frame(self) -> tuple[str, ...]:
        """Overrides that choose groups or set frame keys, which do not depend on a parent."""
        return tuple(
            override
            for override in self.overrides
            if not {".", "@"} & set(key := key_of(override)) or key.startswith("hydra.")
        )

    @property
    def text(self) -> str:
        """The command as it can be typed again in a shell."""
        own, of_hydra = self.split()
        folders = [override for override in of_hydra if key_of(override) == "hydra.searchpath"]
        trusted = [f"trust=[{','.join(self.trusted)}]"] if self.trusted else []
        return shlex.join(["nasrun", self.verb, *(self.words or (*own, *folders, *trusted))])

    def split(self) -> tuple[list[str], list[str]]:
        """Return nasrun's overrides and Hydra's own."""
        own = [o for o in self.overrides if not re.match("hydra[./]", o.lstrip("+~"))]
        return own, [o for o in self.overrides if o not in own]

    def refuse_idle_options(self) -> None:
        """Raise ValueError for an option of Hydra without effect."""
        for override in self.split()[1] if not self.flags else ():
            key, value = key_of(override), override.partition("=")[2]
            if not self.multirun and key != "hydra.searchpath":
                raise ValueError(f"{override}: has no effect without -m; leave it out")
            if key in ("hydra.run.dir", "hydra.mode", "hydra.output_subdir"):
                raise ValueError(
                    f"{override}: has no effect, folders are named by outputs= and "
                    "hydra.sweep.dir=; leave it out"
                )
            if key == "hydra.job.chdir" and value not in ("false", "null"):
                raise ValueError(f"{override}: jobs stay in the current folder; leave it out")


def _override(word: str) -> str:
    """Return a word as Hydra reads it: `method=`, and groups that are a part of another group."""
    if word.startswith("method="):
        return "selector=" + word.removeprefix("method=")
    for inner, outer in INSIDE.items():
        if word.startswith(f"{inner}="):
            return f"{inner}@{outer}" + word.removeprefix(inner)
        if word.startswith(f"{inner}."):
            return f"{outer}.{word}"
    return word if {"'", '"'} & set(word) else HOME.sub(_quoted_home, word)


def _quoted_home(found: re.Match[str]) -> str:
    """Return a path in the home folder with `~` expanded, which Hydra does not do."""
    from nasrun.config import at_home

    return quoted(f"{found[1] or ''}{at_home(found[2])}")


def _check_flags(flags: Sequence[str]) -> None:
    """Raise ValueError for flags that Hydra answers with a page, or that have no effect."""
    flags = [part for flag in flags for part in flag.split("=", 1)]
    for flag, value in pairwise([*flags, ""]):
        if flag in ASKED and value not in ASKED[flag]:
            raise ValueError(f"{f'{flag} {value}'.strip()}: name one of {', '.join(ASKED[flag])}")
    if flags and not {*ASKED, "--hydra-help"} & set(flags):
        raise ValueError(f"{flags[0]}: has no effect without --cfg job")
