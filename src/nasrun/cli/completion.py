"""Shell completion: verbs and their words here, everything after a verb of stages by Hydra."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress

from nasrun.cli.hydra_app import run_hydra
from nasrun.cli.line import Line
from nasrun.cli.verb import Verb
from nasrun.cli.verbs import VERBS
from nasrun.cli.words import apart, run_folders


def asked(arguments: Sequence[str]) -> bool:
    """Return whether a shell asks for completion, or a user for its installation."""
    return "-sc" in arguments or "--shell-completion" in arguments


SHELLS = ("bash", "zsh", "fish")


def _check(arguments: Sequence[str]) -> None:
    """Raise ValueError unless these words install the completion or ask for it."""
    _, *rest = arguments
    known = [f"{verb}={shell}" for verb in ("install", "uninstall", "query") for shell in SHELLS]
    if len(rest) != 1 or rest[0] not in known:
        typed = " ".join(arguments)
        raise ValueError(f"{typed}: use {arguments[0]} {' or '.join(known[:3])}")


def complete(arguments: Sequence[str]) -> int:
    """Print possible next words of the shell's line, or install the completion."""
    _check(arguments)
    words = os.environ.get("COMP_LINE", "").split(" ")
    if "query" not in " ".join(arguments) or len(words) < 2:
        return run_hydra(arguments, lambda config: None)
    verb = VERBS.get(words[1])
    if len(words) == 2 or verb is None:
        return _offer(VERBS, words[-1])
    *before, last = words[2:]
    verb, before = verb.meant(before)
    offered = [*verb.offers(before), *(f"{key}=" for key in verb.keys)]
    key, equals, _ = last.partition("=")
    if equals and (values := _values(verb, key, before)) is not None:
        return _offer((f"{key}={value}" for value in values), last)
    if not verb.composed:
        return _offer(offered, last)
    if any(word.startswith(last) for word in offered):
        _offer(offered, last)
    os.environ["COMP_LINE"] = " ".join(["nasrun", *_overrides(verb, before), last])
    return run_hydra(arguments, lambda config: None)


def _values(verb: Verb, key: str, before: Sequence[str]) -> Iterable[str] | None:
    """Return the values of a key that nasrun knows, or `None`: those that its form lists."""
    if key in VALUES and (verb.composed or key in verb.keys):
        return VALUES[key](before)
    forms = verb.keys.get(key, "").split("|")
    return [form for form in forms if form.islower()] if len(forms) > 1 else None


def _overrides(verb: Verb, before: Sequence[str]) -> Sequence[str]:
    """Return the words that Hydra composes to know which keys there are."""
    with suppress(ValueError):  # a flag that is not known, or a key that is typed twice
        _, others = apart([word for word in before if "=" in word], verb.keys)
        return Line.parse(verb.name, others).overrides
    return ()


def _methods(before: Sequence[str]) -> Iterable[str]:
    from nasrun.config import options

    return options("selector")


def _genotypes(before: Sequence[str]) -> Iterable[str]:
    from nasrun.config import GENOTYPES, options

    return (*options(GENOTYPES), "random")


VALUES = {"method": _methods, "genotype": _genotypes, "run": run_folders}
"""Keys whose values nasrun completes; Hydra completes those of groups."""


def _offer(known: Iterable[str], begun: str) -> int:
    print(" ".join(name for name in known if name.startswith(begun)))
    return 0
