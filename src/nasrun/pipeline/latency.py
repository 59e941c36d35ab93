"""From a configuration to a stopwatch for a latency table: a space, a layout, a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nasrun.config.stages import RETRAIN
from nasrun.pipeline.refusals import refuse_incapable

if TYPE_CHECKING:
    from nasrun.costs.latency import Stopwatch

WHERE = ("device", "precision", "threads")
"""Keys of the budget that say where a network runs."""
READS = ("space", "dataset", "budget", RETRAIN.name, "width", "depth", "experiment")
"""Groups and keys of the configuration that a measurement reads."""


def stopwatch(
    overrides: Sequence[str], trusted: Sequence[str], *, batch: int, repeats: int
) -> Stopwatch:
    """Return a stopwatch for networks as `retrain` trains them; ValueError for unused words."""
    from nasrun.config import build_all, compose, import_trusted, resolve

    composed = compose(overrides)
    for override in overrides:
        if not _read(override):
            raise ValueError(f"{override}: has no effect on `nasrun latency`, leave it out")
    import_trusted(trusted)
    groups = ("budget", "space", "dataset", RETRAIN.name)
    nodes = {group: resolve(composed.config[group]) for group in groups}
    budget, space, dataset, recipe = build_all(nodes, trusted).values()
    from nasrun.costs.latency import Stopwatch
    from nasrun.data.base import Dataset
    from nasrun.spaces.supernet import SupernetSpace

    refuse_incapable("a latency table", SupernetSpace, composed.choices, space)
    if not isinstance(dataset, Dataset):
        option = composed.choices["dataset"]
        raise ValueError(
            f"dataset={option}: a latency table needs {Dataset.words}; use another data set"
        )
    dataset.check()
    facts = dataset.facts()
    budget.apply()
    return Stopwatch(
        space,
        recipe.layout,
        budget,
        inputs=facts.channels,
        outputs=facts.num_classes,
        size=facts.size,
        batch=batch,
        repeats=repeats,
    )


def _read(override: str) -> bool:
    from nasrun.config import key_of, root_of
    from nasrun.spaces.layout import LAYOUT

    key = key_of(override)
    group, _, name = key.partition(".")
    if group in ("budget", RETRAIN.name) and name:
        return name in (WHERE if group == "budget" else LAYOUT)
    return root_of(key) in (*READS, "hydra")
