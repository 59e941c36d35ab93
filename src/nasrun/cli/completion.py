"""Shell completion: verbs and their words here, everything after a verb of stages by Hydra."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from nasrun.cli.hydra_app import run_hydra
from nasrun.cli.verbs import VERBS


def asked(arguments: Sequence[str]) -> bool:
    """Whether a shell asks for completion, or a user for its installation."""
    return "-sc" in arguments or "--shell-completion" in arguments


def complete(arguments: Sequence[str]) -> int:
    """Print what may come next in the line that the shell tells, or install the completion."""
    words = os.environ.get("COMP_LINE", "").split(" ")
    if "query" not in " ".join(arguments) or len(words) < 2:
        return run_hydra(arguments, lambda config: None)
    verb = VERBS.get(words[1])
    if len(words) == 2 or verb is None:
        return _offer(VERBS, words[-1])
    *before, last = words[2:]
    offered = verb.offers(before)
    if not verb.composed:
        return _offer(offered, last)
    if found := [word for word in offered if word.startswith(last)]:
        print(" ".join(found))
    if last.startswith("method="):
        from nasrun.config import options

        return _offer((f"method={name}" for name in options("selector")), last)
    overrides = [word.replace("method=", "selector=", 1) for word in before if "=" in word]
    os.environ["COMP_LINE"] = " ".join(["nasrun", *overrides, last])
    return run_hydra(arguments, lambda config: None)


def _offer(known: Iterable[str], begun: str) -> int:
    print(" ".join(name for name in known if name.startswith(begun)))
    return 0
