"""The extent of a space: how many genotypes it has, and the range of what their networks cost."""

from __future__ import annotations

import math
from functools import partial

import torch

from nasrun.budget import LIMITS, Budget
from nasrun.costs.amounts import Amounts, count_choices
from nasrun.costs.bounds import intensity
from nasrun.costs.cost import count
from nasrun.genotype import Genotype
from nasrun.spaces.base import ClassifierSpace
from nasrun.spaces.layout import Layout
from nasrun.spaces.supernet import SupernetSpace


def facts_of(
    space: SupernetSpace,
    layout: Layout | None,
    budget: Budget,
    genotype: Genotype | None,
    *,
    inputs: int,
    outputs: int,
    size: int,
) -> dict[str, str]:
    """Return the size of the space and the range of costs; ValueError if a limit cannot be met."""
    from nasrun.display import integer

    with torch.device("meta"):
        supernet = space.network(inputs=inputs, outputs=outputs)
    held = sum(parameter.numel() for parameter in supernet.parameters())
    found = {
        "genotypes": integer(genotypes(space)),
        "parameters of the supernet": f"{held / 1e6:.3f} M",
    }
    if layout is not None:
        amounts = partial(count_choices, space, layout, inputs=inputs, outputs=outputs, size=size)
        counted = amounts()
        floor = intensity(counted, 1.0)
        own = dict.fromkeys(("params", "macs", "intensity"), "")
        if genotype is not None:
            its = amounts(like=genotype) if genotype.concat else counted
            own = {
                "params": f"{its.params.of(genotype):.3f} M, in the space ",
                "macs": f"{its.macs.of(genotype):.3f} M, in the space ",
                "intensity": f"{intensity(its, 1.0).cost(genotype):.3f}, in the space ",
            }
        for key, name in (("params", "parameters"), ("macs", "multiply-adds")):
            least, most = extremes(space, getattr(counted, key))
            found[f"{name} when retrained"] = f"{own[key]}{least:.3f} M to {most:.3f} M"
        most = floor.cost(floor.best(space.cheapest))
        found["FLOPs per byte when retrained"] = f"{own['intensity']}at most {most:.3f}"
    for key in LIMITS:
        if (limit := getattr(budget, key)) is not None:
            found[f"budget.{key}"] = f"{limit}: can be met"
    return found


def facts_alone(
    space: ClassifierSpace,
    layout: Layout,
    genotype: Genotype,
    *,
    inputs: int,
    outputs: int,
    size: int,
) -> dict[str, str]:
    """Return the costs of one network of a space whose costs are no sums over choices."""
    with torch.device("meta"):
        network = space.network(genotype, inputs=inputs, outputs=outputs, layout=layout)
    cost = count(network, inputs, size)
    return {
        "parameters when retrained": f"{cost.params / 1e6:.3f} M",
        "multiply-adds when retrained": f"{cost.macs / 1e6:.3f} M",
    }


def genotypes(space: SupernetSpace) -> int:
    """Return the number of genotypes of a space; those that its limits make equal count once."""
    tied = {name for limit in space.limits for name in limit.decisions}
    sizes = {d.name: len(space.candidates(d)) for d in space.decisions}
    number = math.prod(size for name, size in sizes.items() if name not in tied)
    for limit in space.limits:
        ways = [1] + [0] * limit.count  # ways[k]: k of the decisions so far are kept
        for name in limit.decisions:
            for kept in range(limit.count, 0, -1):
                ways[kept] += ways[kept - 1] * sizes[name]
        number *= ways[limit.count]
    return number


def extremes(space: SupernetSpace, amounts: Amounts) -> tuple[float, float]:
    """Return the smallest and the largest cost of a network of the space."""
    least = space.cheapest(lambda name, choice: amounts.each[name].get(choice, 0.0))
    most = space.cheapest(lambda name, choice: -amounts.each[name].get(choice, 0.0))
    return amounts.of(least), amounts.of(most)
