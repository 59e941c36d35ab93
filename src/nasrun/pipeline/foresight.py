"""Predicts a plan: `nasrun plan`."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from nasrun.config.stages import SEARCH, SELECT
from nasrun.data.portion import Portion, PortionOfData
from nasrun.genotype import Genotype
from nasrun.pipeline import notes, select
from nasrun.pipeline.extent import facts_alone, facts_of
from nasrun.pipeline.forecast import (
    Ahead,
    Outlook,
    Process,
    Report,
    foresee_stages,
)
from nasrun.pipeline.plan import Plan
from nasrun.pipeline.rehearsal import Rehearsing
from nasrun.pipeline.search import begin_search
from nasrun.pipeline.training import begin_training
from nasrun.pipeline.work import chosen
from nasrun.spaces.supernet import SupernetSpace

SECONDS = 40
"""Seconds for timed steps, so that an answer comes within a minute."""


def foresee(plan: Plan, report: Report) -> Outlook:
    """Return the outlook of a plan; ValueError names a limit that no genotype can meet."""
    report("reading the data")
    on_cpu = plan.budget.torch_device.type == "cpu" and not plan.budget.compiles
    portion = Portion() if on_cpu else None  # else steps are quick, and compiled per size
    plan = plan if portion is None else _of_portions(plan, portion)
    _ = plan.limits  # raises if a limit cannot be met
    _, dataset = plan.recipe
    data, found = dataset.facts(), chosen(plan, plan.source.selected if plan.source else None)
    genotype = None if found is None else found.genotype
    note = notes.note_of(plan, genotype)
    if (known := notes.read(note)) is not None:
        return known
    plan.budget.apply()
    rehearsing = Rehearsing(portion, SECONDS)
    stages = foresee_stages(_ahead(plan, genotype), Process(plan.budget), rehearsing, report)
    report("counting what the networks of the space cost")
    sizes = {"inputs": data.channels, "outputs": data.num_classes, "size": data.size}
    layout = plan.retrain.layout if plan.retrain is not None else None
    if isinstance(plan.space, SupernetSpace):
        facts = facts_of(plan.space, layout, plan.budget, genotype, **sizes)
    elif layout is not None:
        space, _ = plan.recipe
        facts = facts_alone(space, layout, plan.rival if genotype is None else genotype, **sizes)
    else:
        facts = {}
    outlook = Outlook(facts, stages)
    notes.write(note, outlook)
    return outlook


def _of_portions(plan: Plan, portion: Portion) -> Plan:
    """Return the same plan on data of which only a portion is read."""
    _, dataset = plan.recipe
    transfer = plan.transfer_dataset
    return replace(
        plan,
        dataset=PortionOfData(dataset, portion),
        transfer_dataset=None if transfer is None else PortionOfData(transfer, portion),
    )


def _ahead(plan: Plan, genotype: Genotype | None) -> Ahead:
    return Ahead(
        search=partial(begin_search, plan) if SEARCH in plan.kinds else None,
        select=partial(select.rehearse, plan) if SELECT in plan.kinds else None,
        trainings={
            kind.name: partial(
                begin_training, plan, kind, plan.rival if genotype is None else genotype
            )
            for kind in plan.kinds
            if kind.trains
        },
        baseline=plan.baseline,
    )
