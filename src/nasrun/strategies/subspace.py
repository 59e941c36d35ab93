"""Choices that remain of a space: by name, and as masks (decisions, choices) like its mixtures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from nasrun.genotype import Genotype
from nasrun.spaces.supernet import SupernetSpace

Kept = dict[str, tuple[str, ...]]
"""The choices that remain, per decision."""


def genotypes(space: SupernetSpace, columns: Tensor) -> list[Genotype]:
    """Return the architectures of a rollout."""
    return [
        Genotype(
            space.name,
            {
                decision.name: decision.choices[column]
                for decision, column in zip(space.decisions, row, strict=True)
            },
        )
        for row in columns.tolist()
    ]


def all_choices(space: SupernetSpace) -> Tensor:
    """Return a mask (decisions, choices) that keeps all candidates, `none` if it is one."""
    return mask(space, {d.name: space.candidates(d) for d in space.decisions})


def choices(space: SupernetSpace, kept: Tensor) -> Kept:
    """Return the choices that a mask (decisions, choices) keeps."""
    return {
        decision.name: tuple(
            choice for choice, stays in zip(decision.choices, row, strict=False) if stays
        )
        for decision, row in zip(space.decisions, kept.tolist(), strict=True)
    }


def mask(space: SupernetSpace, kept: Mapping[str, Sequence[str]]) -> Tensor:
    """Return the mask (decisions, choices) that keeps these choices."""
    found = torch.zeros(len(space.decisions), space.width, dtype=torch.bool)
    for row, decision in enumerate(space.decisions):
        for column, choice in enumerate(decision.choices):
            found[row, column] = choice in kept[decision.name]
    return found
