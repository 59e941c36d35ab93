"""The table of stages: names, what they read, and what they continue.

Sources, folders, help, completion and refusals derive from it. A new stage is one entry here and a
module of its name in `pipeline`, with a function `perform`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nasrun.config.words import did_you_mean


@dataclass(frozen=True)
class StageKind:
    """One stage of the pipeline.

    made_of: the group that chooses its object. groups: the configuration groups that it reads
        besides those that every verb reads. keys: the keys of the frame that it reads as a part of
        `nasrun run`. own: those that it reads as a separate verb, if they differ.
    parent: the stage whose result it continues, `None` if it begins a run.
    trains: whether it trains a network from scratch, on the result of `parent` or a given genotype.
    """

    name: str
    text: str
    examples: tuple[str, ...]
    made_of: str
    groups: tuple[str, ...]
    keys: tuple[str, ...] = ()
    parent: str | None = None
    trains: bool = False
    own: tuple[str, ...] | None = None

    @property
    def read(self) -> tuple[str, ...]:
        """Groups and keys that it reads as a part of `nasrun run`."""
        return (*self.groups, *self.keys)

    @property
    def read_alone(self) -> tuple[str, ...]:
        """Groups and keys that it reads as a separate verb."""
        return (*self.groups, *(self.keys if self.own is None else self.own))


SEARCH = StageKind(
    name="search",
    text="train a supernet, candidates or a population, as the strategy says",
    examples=(
        "nasrun search strategy=snas",
        "nasrun search -m strategy=darts,snas seed=0,1,2",
    ),
    made_of="strategy",
    groups=("engine", "evaluator"),
)
SELECT = StageKind(
    name="select",
    text="choose one architecture by what a search learned (method=NAME)",
    examples=(
        "nasrun select",
        "nasrun select method=perturb run=outputs/digits-darts-darts/v001",
    ),
    made_of="selector",
    groups=("engine", "selector"),
    keys=("discretisation",),
    parent="search",
)
RETRAIN = StageKind(
    name="retrain",
    text="train a selected or published architecture from scratch and test it",
    examples=(
        "nasrun retrain",
        "nasrun retrain genotype=darts_v2 retrain=cifar dataset=cifar10",
    ),
    made_of="retrain",
    groups=("retrain",),
    keys=("epochs", "baseline"),
    parent="select",
    trains=True,
    own=("epochs", "extend", "genotype", "selector"),
)
TRANSFER = StageKind(
    name="transfer",
    text="train the architecture from scratch on another data set; test it",
    examples=(
        "nasrun transfer",
        "nasrun transfer transfer=imagenet transfer.dataset.root=DIR",
    ),
    made_of="transfer",
    groups=("transfer",),
    parent="select",
    trains=True,
    own=("extend", "genotype", "selector"),
)
STAGES = (SEARCH, SELECT, RETRAIN, TRANSFER)
"""All stages, in the order of the pipeline."""
KINDS = {kind.name: kind for kind in STAGES}
UPSTREAM = ("seed", "space", "strategy", "dataset", "task")
"""Keys that a later verb takes from its parent."""
SCALE = ("rounds", "width", "depth", "batch_size", "alpha_lr", "images")
"""Frame keys that upstream groups refer to; a later verb takes them from its parent, too."""
ALWAYS = (
    *("budget", "outputs", "run", "progress", "tracker", "experiment", "hydra"),
    *(*UPSTREAM, *SCALE),
)
"""Groups and keys that every verb reads."""
INSIDE = {"evaluator": "strategy"}
"""Groups whose options become a part of another group; a command line names them directly."""
RUN = "run"
"""The verb that runs several stages, one after the other."""


def kinds_of(verb: str, chosen: Sequence[str]) -> tuple[StageKind, ...]:
    """Return the stages of a verb: those `chosen` for `nasrun run`, else the one of its name.

    ValueError unless the chosen stages are the first ones of the pipeline.
    """
    if verb != RUN:
        return (KINDS[verb],)
    for name in chosen:
        if name not in KINDS:
            hint = did_you_mean(name, KINDS) or f"; use {', '.join(KINDS)}, in this order"
            raise ValueError(f"stages=[{','.join(chosen)}]: unknown stage {name}{hint}")
    names = [*KINDS]
    if not chosen or names[: len(chosen)] != [*chosen]:
        complete = (f"[{','.join(names[: end + 1])}]" for end in range(len(names)))
        raise ValueError(
            f"stages=[{','.join(chosen)}]: a run begins with {names[0]} and leaves no stage out; "
            f"use one of {', '.join(complete)}"
        )
    return STAGES[: len(chosen)]


def read_by(verb: str) -> tuple[str, ...]:
    """Return the groups and keys that a verb reads besides those that every verb reads."""
    if verb == RUN:
        return ("stages", *dict.fromkeys(key for kind in STAGES for key in kind.read))
    return KINDS[verb].read_alone


def begins_run(verb: str) -> bool:
    """Return whether a verb continues nothing."""
    return verb == RUN or KINDS[verb].parent is None


def reads_search(verb: str) -> bool:
    """Return whether a verb searches, or reads the result of a search."""
    return verb == RUN or not KINDS[verb].trains
