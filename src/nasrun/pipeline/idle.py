"""Refuses typed words that nothing reads: there is no setting without effect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nasrun.config import depends, did_you_mean, key_of, root_of, value_at
from nasrun.config.keys import TABLE
from nasrun.config.stages import (
    ALWAYS,
    KINDS,
    RETRAIN,
    RUN,
    SEARCH,
    STAGES,
    StageKind,
    read_by,
    reads_search,
)
from nasrun.spaces.layout import LAYOUT

if TYPE_CHECKING:
    from nasrun.config import Composed

SIZES = {
    "width": "channels",
    "depth": "layers",
    "batch_size": "batch_size",
    "alpha_lr": "alpha_optimizer.lr",
    "images": "images",
    "epochs": "epochs",
}
"""Keys of the frame that groups refer to, and the name under which a group may have its own."""


def refuse_idle(verb: str, typed: Sequence[str], *, limited: bool) -> None:
    """Refuse a key that the verb does not read.

    limited: the network's costs are limited, so the keys of the layout for counting are read.
    """
    verbs = (*KINDS, RUN)
    allowed = {*read_by(verb), *ALWAYS}
    known = {*ALWAYS, *(key for other in verbs for key in read_by(other))}
    counted = {RETRAIN.name, *(f"{RETRAIN.name}.{name}" for name in LAYOUT)} if limited else set()
    for override in typed:
        key = key_of(override)
        if key in counted:
            continue
        root = root_of(key)
        if root not in known:
            raise ValueError(f"{override}: unknown key{did_you_mean(root, known)}")
        # after selection, `selector` only names whose genotype is used, and no table is read
        late = not reads_search(verb) and (key == TABLE or key.startswith("selector."))
        if root not in allowed or late:
            home = next((other for other in verbs if root in read_by(other)), SEARCH.name)
            raise ValueError(
                f"{override}: has no effect on `nasrun {verb}`; type it with `nasrun {home}`"
            )


def refuse_left_out(kinds: Sequence[StageKind], typed: Sequence[str], *, limited: bool) -> None:
    """Refuse a key of stages that `nasrun run` leaves out.

    limited: the network's costs are limited, so the layout of `retrain` is read.
    """
    read = {key for kind in kinds for key in kind.read}
    read |= {RETRAIN.name} if limited else set()
    for override in typed:
        root = root_of(key_of(override))
        homes = [kind.name for kind in STAGES if root in kind.read]
        if homes and root not in read:
            stages = ",".join(kind.name for kind in kinds)
            raise ValueError(
                f"{override}: has no effect with stages=[{stages}]; leave it out, or add "
                f"{homes[0]} to the stages"
            )


def refuse_search(typed: Sequence[str]) -> None:
    """Refuse settings of a search if a genotype is given."""
    idle = ("strategy", "task", "selector", "rounds", "alpha_lr")
    for override in typed:
        if root_of(key_of(override)) in idle:
            raise ValueError(
                f"{override}: has no effect with genotype=, nothing is searched; leave it out"
            )


def refuse_idle_keys(typed: Sequence[str], composed: Composed, places: Sequence[str]) -> None:
    """Refuse a typed key of the frame that sets a size on which nothing at these places depends.

    places: groups, and keys of groups.
    """
    for override in typed:
        key = key_of(override)
        if key not in SIZES or depends(composed.config, places, key):
            continue
        for group in (place for place in places if place in composed.choices):
            own = f"{group}.{SIZES[key]}"
            if value_at(composed.config, own) is not None:
                raise ValueError(
                    f"{override}: has no effect, {group}={composed.choices[group]} has its own; "
                    f"type {own}={override.partition('=')[2]}"
                )
        raise ValueError(f"{override}: has no effect, nothing here reads {key}; leave it out")
