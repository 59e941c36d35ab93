"""`nasrun VERB ...`: looks the verb up in the table of verbs and gives it the words behind it.

Exit status: 0 done, 1 one of several processes lost, 2 wrong input, 75 the budget's hours are spent
(the same command continues), 130 interrupted, 128 + n ended by signal n: 141 if nobody reads on.
"""

from __future__ import annotations

import re
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

from nasrun.budget import BudgetSpent
from nasrun.cli import completion, screen
from nasrun.cli.ending import heard
from nasrun.cli.screen import refused
from nasrun.cli.verb import columns, terminal_width
from nasrun.cli.verbs import VERBS
from nasrun.config.words import suggestion
from nasrun.world import Lost


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit."""
    screen.open_streams()
    warnings.showwarning = screen.warn
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with heard():
            try:
                status = dispatch(words)
            except BudgetSpent as spent:
                print(spent)
                status = screen.SPENT
            sys.stdout.flush()
    except BrokenPipeError:  # `nasrun list | head`
        status = 128 + signal.SIGPIPE
    except (ValueError, OSError) as error:
        status = refused(error)
    except Lost as lost:
        status = screen.lost(str(lost))
    except (MemoryError, RuntimeError) as error:
        advice = _advice(error)
        if advice is None:
            raise
        status = refused(ValueError(advice))
    except KeyboardInterrupt as interrupt:
        status = screen.interrupted(interrupt, _keeps(words))
    screen.close_streams()
    sys.exit(status)


def _keeps(words: Sequence[str]) -> str:
    """Return what an interrupted command leaves to the next one, empty if that begins anew."""
    verb = VERBS.get(words[0]) if words else None
    return verb.meant(words[1:])[0].keeps if verb else ""


MEMORY = "not enough memory; use a smaller width, depth or batch_size"
ADVICE = {
    "allocate shared memory|DataLoader worker.* (killed by|exited unexp)": "the processes that "
    "read images were stopped, or /dev/shm is full; use dataset.workers=0, or make /dev/shm larger",
    "allocate memory|out of memory": MEMORY,
}
"""Advice on errors of torch that are no faults of the code, by a form of their messages."""
MOVED = {"diagnose": "analyze search run=RUN"}
"""Former verbs, each with the command that replaces it."""


def _advice(error: MemoryError | RuntimeError) -> str | None:
    """Return advice on an error, `None` if there is none."""
    if isinstance(error, MemoryError):
        return MEMORY
    found = (told for form, told in ADVICE.items() if re.search(form, str(error), re.IGNORECASE))
    advice = next(found, None)
    if advice == MEMORY and "in a worker process" in str(error.__cause__):
        return f"{MEMORY}, or fewer engine.processes"
    return advice


def dispatch(arguments: list[str]) -> int:
    """Return the exit status of a command; ValueError for wrong input."""
    if completion.asked(arguments):
        return completion.complete(arguments)
    for word in arguments:
        if any("\ud800" <= letter <= "\udfff" for letter in word):
            raise ValueError(f"{word!a}: is not UTF-8; rename the file or folder")
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        if asked := [word for word in arguments[1:] if word not in ("-h", "--help", "help")]:
            return dispatch([*asked, "--help"])
        print(_help())
        return 0
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(f"nasrun {version('nasrun')}")
        return 0
    word, rest = arguments[0], arguments[1:]
    if word in MOVED:
        raise ValueError(f"{word}: is a part of analyze now; type `nasrun {MOVED[word]}`")
    if word not in VERBS:
        hint = suggestion(word, VERBS, "the verbs are")
        raise ValueError(f"{word}: unknown verb{hint}")
    verb, rest = VERBS[word].meant(rest)
    if "-h" in rest or "--help" in rest:
        if named := verb.asked(rest):
            verb.describe(named)
        else:
            print("\n".join(verb.help()))
        return 0
    return verb.run(rest)


EXAMPLES = (
    ("nasrun run", "all stages, on the data that come with nasrun"),
    ("nasrun search strategy=snas", "one stage"),
    ("nasrun select method=perturb", "continues the newest search, or run=PATH"),
    ("nasrun retrain", "trains the newest selection, or genotype=darts_v2"),
    ("nasrun search -m strategy=darts,snas seed=0,1,2", "six searches, and a table of them"),
    ("nasrun list", "all groups and their options"),
    ("nasrun VERB --help", "the keys of a verb, and examples"),
    ("nasrun VERB ... --cfg job", "the resolved configuration"),
    ('eval "$(nasrun -sc install=bash)"', "completion in this shell (or zsh, fish)"),
)


def _help() -> str:
    width = terminal_width()
    verbs = "\n".join(columns([(name, verb.text) for name, verb in VERBS.items()], width))
    examples = "\n".join(columns(EXAMPLES, width))
    return f"""nasrun: neural architecture search, one command per stage

usage: nasrun VERB [key=value ...] [-m]

{verbs}

examples:
{examples}
"""
